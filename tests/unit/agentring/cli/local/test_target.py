"""What `agentring dev` is told to run."""

from pathlib import Path

import pytest

from agentring.cli.errors import AgentMalformed
from agentring.cli.local.target import Target, TargetUnknown, find_target


def test_a_file_is_the_module_that_it_would_be_imported_as(tmp_path: Path) -> None:
    (tmp_path / "pack" / "inner").mkdir(parents=True)
    for name in ("pack/__init__.py", "pack/inner/__init__.py", "pack/inner/agents.py", "my_agents.py"):
        (tmp_path / name).write_text("")
    assert find_target("my_agents.py", tmp_path) == Target(("my_agents",), tmp_path)
    assert find_target("pack/inner/agents.py", tmp_path) == Target(("pack.inner.agents",), tmp_path)
    assert find_target(str(tmp_path / "my_agents.py"), Path("/")) == Target(("my_agents",), tmp_path)


@pytest.mark.parametrize(
    ("word", "agent"),
    [("pack.agents", "pack.agents"), ("pack.agents:support", "support=pack.agents:support"), ("a=m:b", "a=m:b")],
)
def test_a_module_or_an_agent_in_it_is_looked_for_here(word: str, agent: str, tmp_path: Path) -> None:
    assert find_target(word, tmp_path) == Target((agent,), tmp_path)


def test_nothing_is_the_projects_entry_points(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[project.entry-points."agentring.agents"]\none = "m:one"\ntwo = "m:two"\n')
    assert find_target("", tmp_path) == Target(("one=m:one", "two=m:two"), tmp_path)
    (tmp_path / "src").mkdir()
    assert find_target("", tmp_path).import_from == tmp_path / "src"


@pytest.mark.parametrize(
    ("project", "why"),
    [
        (None, "there is no pyproject.toml here: name a file"),
        ("[project]\nname = 'x'\n", 'pyproject.toml has no [project.entry-points."agentring.agents"]: name a file'),
        ("[project", "pyproject.toml: "),
    ],
)
def test_a_directory_without_agents_says_what_to_name(tmp_path: Path, project: str | None, why: str) -> None:
    if project is not None:
        (tmp_path / "pyproject.toml").write_text(project)
    with pytest.raises(TargetUnknown) as failed:
        find_target("", tmp_path)
    assert str(failed.value).startswith(why)


def test_what_is_no_file_and_no_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my-agents.py").write_text("")
    for word, why in (("none.py", "there is no such file"), ("my-agents.py", "that is no name of a module")):
        with pytest.raises(TargetUnknown, match=why):
            find_target(word, tmp_path)
    with pytest.raises(AgentMalformed):
        find_target("my-agents", tmp_path)
