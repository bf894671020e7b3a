"""Tools: called after their start is stored, and each call has a result."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent_node.store import ToolStart
from agentring.agent import AgentEvent, Context
from agentring.errors import NodeFenced
from harness.bench import EPOCH, Bench, completed, failed
from harness.premises import TTL_S
from harness.run_agents import NOT_JSON


async def test_a_tool_is_called_and_published(bench: Bench) -> None:
    async def add(a: int, b: int) -> dict[str, int]:
        return {"sum": a + b}

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for a in (1, 2):
            assert await ctx.tool("add", add, a=a, b=3) == {"sum": a + 3}
        yield "done"

    completed(await bench.run(agent))
    call, answer, call2, answer2, _ = bench.events()
    assert (call.tool_call.name, dict(call.tool_call.arguments)) == ("add", {"a": 1, "b": 3})
    assert (call.turn_id, call.attempt, call.epoch) == ("t", 1, EPOCH)
    assert answer.tool_result.call_id == call.tool_call.call_id
    assert dict(answer.tool_result.result.struct_value) == {"sum": 4}
    assert answer2.tool_result.call_id == call2.tool_call.call_id != call.tool_call.call_id
    assert bench.audit.lines == [("tool_started", "t")] * 2


async def test_a_tools_start_is_stored_before_the_tool_is_called(bench: Bench) -> None:
    done: list[str] = []

    async def store(start: ToolStart) -> None:
        await asyncio.sleep(0)
        done.append(f"stored {start.name} {start.call_id}")

    async def tool() -> None:
        done.append("called")

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.tool("pay", tool)
        yield ""

    completed(await bench.run(agent, tool_starts=store))
    assert done == ["stored pay t.1.1", "called"]


async def test_a_tool_that_raises_is_published_with_an_opaque_id_and_raises_in_the_agent(bench: Bench) -> None:
    async def broken(**_: Any) -> None:
        raise LookupError("not for clients")

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with pytest.raises(LookupError):
            await ctx.tool("broken", broken, x=1)
        yield "went on"

    assert completed(await bench.run(agent)).text == "went on"
    call, answer, _ = bench.events()
    assert answer.tool_result.call_id == call.tool_call.call_id
    assert len(answer.tool_result.error_id) == 16
    assert "not for clients" not in str(bench.events())


@pytest.mark.parametrize("side", ["arguments", "answer"])
@pytest.mark.parametrize("what", ["NaN", "an object", "a set"])
async def test_a_tools_arguments_and_result_must_be_json(bench: Bench, side: str, what: str) -> None:
    called = False

    async def tool(**arguments: Any) -> Any:
        nonlocal called
        called = True
        return NOT_JSON[what]

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""
        await ctx.tool("tool", tool, **({"arguments": NOT_JSON[what]} if side == "arguments" else {}))

    reason = "TOOL_ARGUMENT_INVALID" if side == "arguments" else "RESULT_INVALID"
    assert failed(await bench.run(agent)) == reason
    assert called == (side == "answer")
    assert bench.kinds == ([] if side == "arguments" else ["tool_call", "tool_result"])
    if side == "answer":
        assert bench.events()[-1].tool_result.reason == "RESULT_INVALID"


@pytest.mark.parametrize("swallows", [True, False])
async def test_past_the_fence_nothing_is_published_and_no_tool_is_called(bench: Bench, swallows: bool) -> None:
    called = False

    async def tool() -> None:
        nonlocal called
        called = True

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "before"
        await asyncio.sleep(0)
        bench.clock.advance(TTL_S)
        ctx.state["x"] = 1
        try:
            await ctx.tool("tool", tool)
        except NodeFenced:
            if not swallows:
                raise
        yield "after"

    with pytest.raises(NodeFenced):
        await bench.run(agent)
    assert (called, bench.kinds, bench.text) == (False, ["text_delta"], "before")


async def test_a_fence_while_a_tool_runs_leaves_its_result_unpublished(bench: Bench) -> None:
    async def slow() -> None:
        bench.clock.advance(TTL_S)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""
        await ctx.tool("slow", slow)

    with pytest.raises(NodeFenced):
        await bench.run(agent)
    assert bench.kinds == ["tool_call"]
