"""The examples in the docstrings of what an agent sees of its run, of its surroundings, and of what it says."""

import inspect
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import agentring.agent
from agentring.agent.declaration import DeclaredAgent
from agentring.agent.output import Log, Output
from agentring.agent.run_info import RunInfo
from harness.agent_context import FakeContext
from harness.docstrings import compiled, example


class Pool:
    async def fetch(self, _query: str) -> list[int]:
        return [1]


def documented() -> Iterator[tuple[str, Any]]:
    yield "agent", agentring.agent.agent
    yield "Caller", agentring.agent.Caller
    yield "Secret", agentring.agent.Secret
    for name in ("emit", "log"):
        yield name, getattr(Output, name)
    for name in ("session_id", "settings", "resources"):
        yield name, getattr(RunInfo, name)
    yield "Log.info", Log.info


@pytest.mark.parametrize(("name", "found"), [pytest.param(*each, id=each[0]) for each in documented()])
async def test_the_example_runs(name: str, found: Any) -> None:
    code = example(inspect.getdoc(found) or "")
    assert code, f"{name} has no example"
    ctx = FakeContext("hi", session_id="", task_key="k")
    ctx.settings, ctx.resources = SimpleNamespace(timeout_s=3.0), SimpleNamespace(pool=Pool())
    names: dict[str, Any] = {**vars(agentring.agent), "ctx": ctx, "AsyncIterator": AsyncIterator}
    exec("from dataclasses import dataclass", names)
    exec(compiled(code, name, "" if name == "Caller" else "return locals()"), names)
    made = names["example"]()
    if name == "Caller":
        assert [piece async for piece in made] == []
        return
    left = await made
    if name == "agent":
        counter = left["counter"]
        assert isinstance(counter, DeclaredAgent)
        assert [piece async for piece in counter(FakeContext(state=left["Count"]()))] == ["turn 1"]
    if name == "session_id":
        assert left["cart"] == "cart of task k"
    if name == "emit":
        assert ctx.emitted == [("progress", {"done": 3, "of": 10})]
