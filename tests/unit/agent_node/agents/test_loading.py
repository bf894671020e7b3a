"""An agent that cannot be loaded is one line, with the cause and the place."""

import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

from agent_node.agents.loading import AgentNotLoadable, load_agent, load_module
from agentring.agent import AgentEvent, Context

HERE = __name__
number = 1


async def greeter(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield "hello"


async def with_more(more: str, ctx: Context) -> AsyncIterator[AgentEvent]:
    yield more


async def never_yielding(ctx: Context) -> None:
    return


def not_async(ctx: Context) -> str:
    return "hello"


def sync_generator(ctx: Context) -> Iterator[str]:
    yield "hello"


def handing_on(ctx: Context) -> AsyncIterator[AgentEvent]:
    return greeter(ctx)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(ctx: Context):  # type: ignore[no-untyped-def]
        return function(ctx)

    return run


class Agents:
    """An agent may be any callable."""

    def __call__(self, ctx: Context):  # type: ignore[no-untyped-def]
        return greeter(ctx)

    async def method(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "hello"


class Generating:
    """One that is not async."""

    def __call__(self, ctx: Context) -> Iterator[str]:
        yield "hello"


wrapped = decorated(greeter)
bound = partial(with_more, "more")
instance = Agents()
generating = Generating()


@pytest.mark.parametrize("attribute", ["greeter", "handing_on", "wrapped", "bound", "instance", "instance.method"])
def test_what_may_be_an_agent_is_taken(attribute: str) -> None:
    found: Any = sys.modules[HERE]
    for part in attribute.split("."):
        found = getattr(found, part)
    assert load_agent("mine", f"{HERE}:{attribute}") == found


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("no.such.module:agent", "ModuleNotFoundError: No module named 'no', looked for in /"),
        (f"{HERE}:greter", f"AttributeError: module '{HERE}' has no attribute 'greter'; is greeter meant?"),
        (f"{HERE}:number", "not callable, but of type int"),
        (HERE, "not callable, but of type module"),
        (f"{HERE}:never_yielding", "a coroutine function, which never yields; an agent is an async generator"),
        (f"{HERE}:not_async", "a function that is not async; an agent is an async generator"),
        (f"{HERE}:sync_generator", "a generator that is not async; an agent is an async generator"),
        (f"{HERE}:generating", "a generator that is not async; an agent is an async generator"),
        (f"{HERE}:Agents", "a class: name an instance of it, or a method; an agent is an async generator"),
        ("", "that is no package.module:attribute"),
        ("not a path", "that is no package.module:attribute"),
        ("./agents.py", "that is no package.module:attribute"),
    ],
)
def test_what_is_no_agent_is_named(where: str, why: str) -> None:
    with pytest.raises(AgentNotLoadable) as failed:
        load_agent("bad", where)
    assert str(failed.value).startswith(f"agent 'bad' cannot be loaded from '{where}': {why}")


BROKEN = {
    "KeyError": "{}['AGENT_KEY']",
    "TypeError": "len(1)",
    "SyntaxError": "def agent(:",
    "SystemExit": "import sys; sys.exit(3)",
    "RuntimeError": "import asyncio\nasyncio.get_running_loop()\nasync def main(): pass\nasyncio.run(main())",
    "ImportError": "from os import nothing_such",
    "ModuleNotFoundError": "import json\nimport no_such_package.part",
    "ZeroDivisionError": "\n\n1 / 0",
    "RecursionError": "def f(): f()\nf()",
    "UnicodeDecodeError": "b'\\xff'.decode()",
    "ValueError": "raise ValueError('two\\nlines')",
    "Exception": "raise Exception",
    "ExceptionGroup": "raise ExceptionGroup('g', [ValueError()])",
    "GeneratorExit": "raise GeneratorExit",
    "Speechless": "class Speechless(Exception):\n    def __str__(self): raise SystemExit\nraise Speechless",
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
    for load in (partial(load_agent, "bad", f"{module}:agent"), partial(load_module, module)):
        with pytest.raises(AgentNotLoadable) as failed:
            load()
        message = str(failed.value)
        assert re.match(rf"(agent 'bad'|agents) cannot be loaded from '{module}(:agent)?': {cause}", message)
        assert "\n" not in message
        assert re.search(rf"{module}\.py, line \d+\)$", message)


def test_a_missing_module_is_named_with_the_line_that_imports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "importing_agents.py").write_text("import json\n\nimport no_such_package.part\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AgentNotLoadable) as failed:
        load_agent("bad", "importing_agents:agent")
    assert str(failed.value).endswith(
        f"ModuleNotFoundError: No module named 'no_such_package' ({tmp_path / 'importing_agents.py'}, line 3)"
    )


def modules(tmp_path: Path, source: str) -> str:
    """A new module with this source, after what an agent imports; its name."""
    name = f"agents_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(f"from agentring.agent import Context\n{source}")
    return name


DECLARED = """
from agentring.agent import agent
@agent
async def one(ctx): yield "one"
@agent(name="2nd")
async def two(ctx: Context): yield "two"
also_two = two
async def helper(ctx): yield "no agent of its own"
"""


def test_where_agents_are_declared_those_alone_are_hosted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = modules(tmp_path, DECLARED)
    found = load_module(module)
    assert set(found) == {"one", "2nd"}
    assert load_agent("mine", f"{module}:two") is found["2nd"]
    assert load_agent("helper", f"{module}:helper").__module__ == module
    sys.modules.pop(module)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("@agent\ndef sync(ctx): return 1", "TypeError: sync is no agent: an agent is an async generator"),
        ("@agent(state=dict)\nasync def x(ctx): yield 1", "TypeError: x: state must be a dataclass or a pydantic"),
        (
            "@agent(name='x')\nasync def one(ctx): yield 1\n@agent\nasync def x(ctx): yield 1",
            "two agents are declared as 'x'",
        ),
    ],
)
def test_a_declaration_that_is_none_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, why: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = modules(tmp_path, f"from agentring.agent import agent\n{source}\n")
    with pytest.raises(AgentNotLoadable) as failed:
        load_module(module)
    assert why in str(failed.value)
    assert "\n" not in str(failed.value)
    if why.startswith("TypeError"):
        assert f"{module}.py, line 3)" in str(failed.value)
    sys.modules.pop(module, None)


AGENTS = """
from agent_node.agents.echo import echo
async def one(ctx): yield "one"
async def two(ctx: Context, *, loud=False): yield "two"
async def _private(ctx): yield ""
async def tool(city, country): yield ""
async def no_generator(ctx): return 1
def sync(ctx): return 1
"""


@pytest.mark.parametrize(("listed", "names"), [("", {"one", "two"}), ("__all__ = ['two', 'sync']", {"two"})])
def test_the_agents_of_a_module_are_its_own_async_generators_of_one_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, names: set[str]
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = modules(tmp_path, f"{AGENTS}{listed}\n")
    assert set(load_module(module)) == names
    sys.modules.pop(module)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def agent(ctx): yield 1", "agent is a generator that is not async; an agent is"),
        ("async def agent(ctx): return 1", "agent is a coroutine function, which never yields; an agent is"),
        ("x = 1", "the module defines none; an agent is an async generator"),
    ],
)
def test_a_module_without_agents_says_what_one_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, why: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = modules(tmp_path, f"{source}\n")
    with pytest.raises(AgentNotLoadable) as failed:
        load_module(module)
    assert str(failed.value).startswith(f"agents cannot be loaded from '{module}': {why}")
    sys.modules.pop(module)
