"""Tools that were cut off have a result all the same."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentring.agent import AgentEvent, Context
from harness.bench import Bench, completed, failed
from harness.clock import PATIENCE_S


@pytest.mark.parametrize("cut_off_by", ["a time-out", "a child's time-out", "the deadline", "the agent's end"])
async def test_a_tool_that_was_cut_off_has_a_result(cut_off_by: str) -> None:
    left: list[asyncio.Task[Any]] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "begun "
        match cut_off_by:
            case "a time-out":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await ctx.tool("waits", asyncio.Event().wait)
            case "a child's time-out":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(ctx.tool("waits", asyncio.Event().wait), 0.01)
            case "the deadline":
                await ctx.tool("waits", asyncio.Event().wait)
            case "the agent's end":
                left.append(asyncio.create_task(ctx.tool("waits", asyncio.Event().wait)))
                await asyncio.sleep(0.01)
        yield "went on"

    bench = Bench(timeout_s=0.05 if cut_off_by == "the deadline" else PATIENCE_S, grace_s=PATIENCE_S)
    outcome = await bench.run(agent)
    if cut_off_by == "the deadline":
        assert failed(outcome) == "TURN_DEADLINE"
    else:
        assert completed(outcome).text == "begun went on"
    calls = [event.tool_call for event in bench.events() if event.HasField("tool_call")]
    answers = [event.tool_result for event in bench.events() if event.HasField("tool_result")]
    assert [(each.call_id, each.name, each.reason) for each in answers] == [
        (call.call_id, "waits", "TOOL_CANCELLED") for call in calls
    ]
    assert len(calls) == 1
    assert len(answers[0].error_id) == 16
    for task in left:
        task.cancel()
        await asyncio.wait(left)
