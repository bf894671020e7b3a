"""Where the children of `agentring up` look for modules."""

import os
from pathlib import Path

import pytest

import agentring
from agentring.cli.local import import_path

_OURS = str(Path(agentring.__file__).resolve().parents[1])


def test_a_node_finds_agents_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert import_path.for_node() == ((), {}), "`python -m` looks there by itself"


def test_a_router_does_not_look_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "router.py").write_text("")
    monkeypatch.chdir(tmp_path)

    assert import_path.for_router() == (("-P",), {})


def test_it_looks_there_where_the_code_is_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_OURS)
    monkeypatch.syspath_prepend(_OURS)

    assert import_path.for_router() == ((), {})


def test_other_sources_in_the_working_directory_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agentring").mkdir()
    (tmp_path / "agentring" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/mine")

    expected = ("-P",), {"PYTHONPATH": os.pathsep.join([_OURS, "/mine", str(tmp_path)])}
    assert import_path.for_node() == expected
    assert import_path.for_router() == expected
