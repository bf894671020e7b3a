"""Agents found by entry point, or given on the command line."""

from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint

import pytest

from agent_node import registry
from agent_node.agent import AgentEvent, TurnContext
from agent_node.agents.echo import echo
from agent_node.registry import GROUP, AgentNotLoadable, hosted, load_agents

HERE = __name__
number = 1


async def given(_ctx: TurnContext) -> AsyncIterator[AgentEvent]:
    yield "given"


async def never_yielding(_ctx: TurnContext) -> None:
    return


class Callable:
    """An agent may be any callable."""

    def __call__(self, _ctx: TurnContext) -> AsyncIterator[AgentEvent]:
        return given(_ctx)

    method = staticmethod(given)


instance = Callable()


def install(monkeypatch: pytest.MonkeyPatch, **where: str) -> None:
    """As if installed packages named these agents."""
    points = [EntryPoint(name, value, GROUP) for name, value in where.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == GROUP else [])


def test_installed_agents_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_agents(())["echo"] is echo
    install(monkeypatch, one=f"{HERE}:given")
    assert load_agents(()) == {"one": given}


def test_given_agents_come_before_installed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, one=f"{HERE}:instance", two=f"{HERE}:instance")
    loaded = load_agents((f"one={HERE}:given", f"three={HERE}:Callable.method"))
    assert loaded == {"one": given, "two": instance, "three": given}


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("no.such.module:agent", "ModuleNotFoundError"),
        (f"{HERE}:missing", "AttributeError"),
        (f"{HERE}:number", "not callable"),
        (HERE, "not callable"),
        (f"{HERE}:never_yielding", "never yields"),
        ("", "AttributeError"),
        ("not a path", "AttributeError"),
    ],
)
@pytest.mark.parametrize("how", ["given", "installed"])
def test_an_agent_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, where: str, why: str, how: str
) -> None:
    install(monkeypatch, **({"bad": where} if how == "installed" else {}))
    with pytest.raises(AgentNotLoadable, match=f"'bad' cannot be loaded from '{where}': .*{why}"):
        load_agents((f"bad={where}",) if how == "given" else ())


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({}, {"free"}),
        ({"zone": "us"}, {"free"}),
        ({"zone": "eu"}, {"free", "one"}),
        ({"zone": "eu", "gpu": "a:b"}, {"free", "one", "both"}),
        ({"gpu": "a:b"}, {"free"}),
    ],
)
def test_a_node_without_an_agents_labels_does_not_host_it(labels: dict[str, str], names: set[str]) -> None:
    agents = dict.fromkeys(("free", "one", "both"), given)
    required = ("one:zone=eu", "both:zone=eu", "both:gpu=a:b", "elsewhere:zone=us")
    assert set(hosted(agents, required, labels)) == names
