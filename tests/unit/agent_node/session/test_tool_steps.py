"""The tools of a session's turn over its owners, and what they cost the store."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from agentring.agent import AgentEvent, Context, Tool
from agentring.ids import Epoch
from agentring.v1.session_pb2 import Event
from harness.attempts import Ran
from harness.sessions import EPOCH, acting
from harness.stores import RecordingStore


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_tool_costs_its_start_and_its_outcome(idempotent: bool) -> None:
    ran, store = Ran(), RecordingStore(durable=True)

    async def look_up(city: str) -> str:
        ran.called(city)
        return city

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield await ctx.call_tool(Tool(look_up, idempotent=idempotent), {"city": "Oslo"})

    async with acting(agent, store=store) as actor:
        await actor.submit("t")
        assert await actor.until_ended("t") == ["turn_completed"]
    calls = [call for call in store.calls if call != "release"]
    start = ["start_tool"] if idempotent else ["keep_steps", "start_tool"]
    assert calls == ["accept_turn", *start, "keep_steps", "commit_turn"]
    kept = [row.state.name for row in store.steps.kept]
    assert kept == (["COMPLETED"] if idempotent else ["STARTED", "COMPLETED"])


async def test_the_next_owner_of_a_turn_shows_the_same_call_and_does_not_make_it() -> None:
    ran, store = Ran(), RecordingStore(durable=True)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.tool("pay", ran.effect, name="paid"))
        ran.called("past")
        if ctx.attempt == 1:
            await asyncio.Event().wait()

    shown, heard = [], list[Event]()
    for number, lost in enumerate((False, True)):
        async with acting(agent, store=store, epoch=Epoch(EPOCH + number), lost=lost) as owner:
            await (partial(owner.until_ended, "t") if lost else partial(owner.submit, "t"))()
            await ran.until_called("past", number + 1)
            for event in owner.events():
                if event.HasField("attempt_restarted"):
                    heard = [before for before in heard if before.seq <= event.attempt_restarted.valid_through_seq]
                heard.append(event)
            calls = [event.tool_call.call_id for event in heard if event.HasField("tool_call")]
            answers = [event.tool_result for event in heard if event.HasField("tool_result")]
            shown.append([*calls, *(answer.call_id for answer in answers)])
            assert [answer.result.string_value for answer in answers] == ["paid"]
            assert len(calls) == 1
    assert shown[0] == shown[1]
    assert ran.calls["paid"] == 1
