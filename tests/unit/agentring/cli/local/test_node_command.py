"""What a node of a local cluster is started with."""

import itertools
from pathlib import Path

import pytest

from agentring.cli.errors import AgentMalformed
from agentring.cli.local.node_command import Hosting, check_agents, node_command
from agentring.ids import NodeId


def command(hosting: Hosting) -> tuple[tuple[str, ...], dict[str, str]]:
    return node_command(NodeId("n1"), hosting, Path("d"), ("http://127.0.0.1:1",), 10, module="agent_node")


def agents_of(words: tuple[str, ...]) -> list[str]:
    return [after for before, after in itertools.pairwise(words) if before == "--agent"]


def test_a_flag_adds_to_the_variable_of_the_file_or_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRING_AGENT", "a=m:a,b=m:b")
    assert agents_of(command(Hosting())[0]) == []
    assert agents_of(command(Hosting(("m",)))[0]) == ["a=m:a", "b=m:b", "m"]
    assert agents_of(command(Hosting(("m",), {"AGENTRING_AGENT": "c=m:c"}))[0]) == ["c=m:c", "m"]


def test_modules_are_looked_for_where_they_are_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/before")
    assert command(Hosting(import_from=Path("/code")))[1]["PYTHONPATH"].split(":")[0] == "/code"
    assert "/before" in command(Hosting(import_from=Path("/code")))[1]["PYTHONPATH"].split(":")


def test_a_drains_time_is_the_variables_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTRING_DRAIN_TIMEOUT_S", raising=False)
    assert command(Hosting(drain_timeout_s=1.0))[0][-2:] == ("--drain-timeout-s", "1.0")
    monkeypatch.setenv("AGENTRING_DRAIN_TIMEOUT_S", "5")
    assert "--drain-timeout-s" not in command(Hosting(drain_timeout_s=1.0))[0]


@pytest.mark.parametrize("word", ["m", "p.m", "a=m:a", "a.b-c=p.m:A.b"])
def test_words_that_name_agents_are_taken(word: str) -> None:
    assert check_agents((word,)) == (word,)


@pytest.mark.parametrize("word", ["", "m.py", "./m.py", "a=", "=m:a", "a=m", "m:", "a=m:a,b=m:b", "a=m:a:b", "a b=m:"])
def test_words_that_do_not_are_refused(word: str) -> None:
    with pytest.raises(AgentMalformed):
        check_agents((word,))
