"""The examples in the docstrings of `ctx.storage`, of what adapters share, and of the adapter of LangGraph."""

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import langchain_core.tools
import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph

import agentring.adapters
import agentring.adapters.langgraph
import agentring.agent
from agentring.adapters.langgraph import AgentringSaver, langgraph_agent
from agentring.agent import AgentEvent, Context, LatestStorage, Storage, StoredValues
from agentring.testing import AgentTest
from harness.docstrings import compiled, example


async def draw(month: str) -> bytes:
    return month.encode()


def builder() -> Any:
    made = StateGraph(MessagesState)
    made.add_node("node", lambda state: {"messages": []})
    made.add_edge(START, "node")
    return made


def documented() -> Iterator[tuple[str, Any]]:
    for name in ("StoredKey", "StorageFull", "StorageConflict", "Storage"):
        yield name, getattr(agentring.agent, name)
    for name in ("get", "put", "delete", "list"):
        yield name, getattr(StoredValues, name)
    yield "change", LatestStorage.change
    yield "latest", Storage.latest
    yield "adapters", agentring.adapters
    for name in ("current_context", "within", "ring_tool"):
        yield name, getattr(agentring.adapters, name)
    yield "langgraph_agent", langgraph_agent
    yield "AgentringSaver", AgentringSaver
    yield "AgentringSaver()", AgentringSaver.__init__


@pytest.mark.parametrize(("name", "found"), [pytest.param(*each, id=each[0]) for each in documented()])
async def test_the_example_runs(name: str, found: Any) -> None:
    code = example(inspect.getdoc(found) or "")
    assert code, f"{name} has no example"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        names: dict[str, Any] = {
            **vars(agentring.agent),
            **vars(agentring.adapters),
            **vars(agentring.adapters.langgraph),
            "AsyncIterator": AsyncIterator,
            "JsonPlusSerializer": JsonPlusSerializer,
            "builder": builder(),
            "ctx": ctx,
            "draw": draw,
            "graph": builder().compile(),
            "langchain_core": langchain_core,
            "png": b"png",
            "text": b"text",
        }
        exec(compiled(code, name, "return locals()"), names)
        left = await names["example"]()
        yield str(sorted(left))
        if name == "Storage":
            yield str(left["size"])

    async with AgentTest(agent) as test:
        assert (await test.turn("go")).text.startswith("[")
