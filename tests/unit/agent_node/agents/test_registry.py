"""Agents found by entry point, or named on the command line."""

import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent_node.agents import registry
from agent_node.agents.echo import echo
from agent_node.agents.registry import GROUP, hosted, load_agents
from agentring.agent import AgentEvent, Context, Secret, agent

HERE = __name__


async def greeter(_ctx: Context) -> AsyncIterator[AgentEvent]:
    yield "hello"


class Callable:
    """An agent may be any callable."""

    def __call__(self, _ctx: Context) -> AsyncIterator[AgentEvent]:
        return greeter(_ctx)

    method = staticmethod(greeter)


instance = Callable()


def install(monkeypatch: pytest.MonkeyPatch, **where: str) -> None:
    """As if installed packages named these agents."""
    points = [EntryPoint(name, value, GROUP) for name, value in where.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == GROUP else [])


def test_installed_agents_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_agents(()).by_name["echo"] is echo
    install(monkeypatch, one=f"{HERE}:greeter")
    assert load_agents(()).by_name == {"one": greeter}


def test_named_agents_come_before_installed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, one=f"{HERE}:instance", two=f"{HERE}:instance")
    loaded = load_agents((f"one={HERE}:greeter", f"three={HERE}:Callable.method")).by_name
    assert loaded == {"one": greeter, "two": instance, "three": greeter}


@dataclass
class Wants:
    api_key: Secret


@agent(settings=Wants)
async def _wanting(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield "has it"


def test_an_agent_is_loaded_with_its_settings_or_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, one=f"{HERE}:_wanting", two=f"{HERE}:_wanting", three=f"{HERE}:greeter")
    file = tmp_path / "settings.toml"
    file.write_text('[two]\napi_key = "from the file"\n')
    monkeypatch.setenv("ONE_API_KEY", "from the environment")
    found = load_agents((), file)
    assert found.settings == {"one": Wants(Secret("from the environment")), "two": Wants(Secret("from the file"))}
    assert found.left_out == ()

    monkeypatch.delenv("ONE_API_KEY")
    found = load_agents(())
    assert set(found.by_name) == {"three"}
    assert found.settings == {}
    assert found.left_out[0] == (
        f"agent 'one' cannot be loaded from '{HERE}:_wanting': its setting api_key is missing: "
        "set ONE_API_KEY, or api_key under [one] in the file of --agent-settings"
    )


BROKEN = "broken_agents"


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module whose import fails."""
    (tmp_path / f"{BROKEN}.py").write_text("raise KeyError('AGENT_KEY')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield BROKEN
    sys.modules.pop(BROKEN, None)


def test_one_that_is_broken_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    install(monkeypatch, bad=f"{broken}:agent", odd="not a path", one=f"{HERE}:greeter")
    with capture_logs() as logged:
        loaded = load_agents((f"two={HERE}:instance", "worse=no.such:agent", f"{broken}"))
    assert loaded.by_name == {"one": greeter, "two": instance}
    assert [(line["event"], line["agent"]) for line in logged] == [
        ("agent_left_out", name) for name in (broken, "worse", "bad", "odd")
    ]
    assert tuple(line["why"] for line in logged) == loaded.left_out
    assert "KeyError" in logged[0]["why"]


def test_a_named_agent_stands_in_for_a_broken_one(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    install(monkeypatch, bad=f"{broken}:agent")
    assert load_agents((f"bad={HERE}:greeter",)).by_name == {"bad": greeter}


def test_no_installed_agent_stands_in_for_a_named_one_that_is_broken(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    install(monkeypatch, one=f"{HERE}:greeter")
    assert load_agents((f"one={broken}:agent",)).by_name == {}


def test_all_agents_of_a_module_replace_installed_ones_and_a_named_one_replaces_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, greeter=f"{HERE}:instance", other=f"{HERE}:instance")
    assert load_agents((HERE,)).by_name == {"greeter": greeter, "other": instance}
    assert load_agents((HERE, f"greeter={HERE}:instance")).by_name == {"greeter": instance, "other": instance}


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
    agents = dict.fromkeys(("free", "one", "both"), greeter)
    required = ("one:zone=eu", "both:zone=eu", "both:gpu=a:b", "elsewhere:zone=us")
    assert set(hosted(agents, required, labels)) == names
