"""Agents found by entry point, or named on the command line."""

import re
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent_node.agents import registry
from agent_node.agents.echo import echo
from agent_node.agents.registry import GROUP, AgentNotLoadable, hosted, load_agents
from agentring.agent import AgentEvent, Context

HERE = __name__
number = 1


async def greeter(_ctx: Context) -> AsyncIterator[AgentEvent]:
    yield "hello"


async def never_yielding(_ctx: Context) -> None:
    return


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
    assert load_agents(())["echo"] is echo
    install(monkeypatch, one=f"{HERE}:greeter")
    assert load_agents(()) == {"one": greeter}


def test_named_agents_come_before_installed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, one=f"{HERE}:instance", two=f"{HERE}:instance")
    loaded = load_agents((f"one={HERE}:greeter", f"three={HERE}:Callable.method"))
    assert loaded == {"one": greeter, "two": instance, "three": greeter}


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
def test_a_given_agent_that_cannot_be_loaded_is_named(where: str, why: str) -> None:
    with pytest.raises(AgentNotLoadable, match=f"'bad' cannot be loaded from '{where}': .*{why}"):
        load_agents((f"bad={where}",))


BROKEN = {
    "KeyError": "{}['AGENT_KEY']",
    "TypeError": "len(1)",
    "SyntaxError": "def agent(:",
    "SystemExit": "import sys; sys.exit(3)",
    "RuntimeError": "import asyncio\nasyncio.get_running_loop()\nasync def main(): pass\nasyncio.run(main())",
    "ImportError": "from os import nothing_such",
    "ZeroDivisionError": "\n\n1 / 0",
    "RecursionError": "def f(): f()\nf()",
    "UnicodeDecodeError": "b'\\xff'.decode()",
    "ValueError": "raise ValueError('two\\nlines')",
    "Exception": "raise Exception",
    "ExceptionGroup": "raise ExceptionGroup('g', [ValueError()])",
    "GeneratorExit": "raise GeneratorExit",
}


@pytest.fixture(params=sorted(BROKEN))
def broken(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, str]]:
    """A module whose import fails, and with what."""
    module = f"broken_{request.param.lower()}"
    (tmp_path / f"{module}.py").write_text(BROKEN[request.param] + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield module, request.param
    sys.modules.pop(module, None)


def test_a_module_that_fails_at_its_import_is_one_line_with_cause_file_and_line(broken: tuple[str, str]) -> None:
    module, cause = broken
    with pytest.raises(AgentNotLoadable) as failed:
        load_agents((f"bad={module}:agent",))
    message = str(failed.value)
    assert message.startswith(f"agent 'bad' cannot be loaded from '{module}:agent': {cause}")
    assert "\n" not in message
    assert re.search(rf"{module}\.py, line \d+\)", message) or cause == "ImportError"


def test_one_broken_package_does_not_stop_the_other_agents(
    monkeypatch: pytest.MonkeyPatch, broken: tuple[str, str]
) -> None:
    install(monkeypatch, bad=f"{broken[0]}:agent", odd="not a path", one=f"{HERE}:greeter")
    with capture_logs() as logged:
        assert load_agents((f"two={HERE}:instance",)) == {"one": greeter, "two": instance}
    assert [(line["event"], line["agent"]) for line in logged] == [("agent_left_out", "bad"), ("agent_left_out", "odd")]
    assert broken[1] in logged[0]["why"]


def test_a_given_agent_stands_in_for_a_broken_one(monkeypatch: pytest.MonkeyPatch, broken: tuple[str, str]) -> None:
    install(monkeypatch, bad=f"{broken[0]}:agent")
    assert load_agents((f"bad={HERE}:greeter",)) == {"bad": greeter}


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
