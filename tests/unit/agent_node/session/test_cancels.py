"""Cancels of a session's turns: every turn ends, and ends once, whatever the agent makes of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentring.agent import AgentEvent, Context
from agentring.errors import (
    TurnNotFound,
)
from agentring.v1.session_pb2 import (
    ON_BUSY_INTERRUPT,
    TURN_STATE_CANCELLED,
    TURN_STATE_COMPLETED,
)
from harness.clock import PATIENCE_S
from harness.premises import Stage
from harness.sessions import GRACE_S, acting, kind_of, quick
from harness.stores import RecordingStore
from harness.stubborn import Stubborn


async def test_a_cancel_ends_a_waiting_or_running_turn_and_changes_no_ended_one(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        for turn_id in "ba":
            assert (await actor.session.cancel(turn_id)).state == TURN_STATE_CANCELLED
        stage.go.set()
        await actor.submit("c")
        await actor.until_ended("c")
        assert (await actor.session.cancel("c")).state == TURN_STATE_COMPLETED
        assert (await actor.session.cancel("a")).state == TURN_STATE_CANCELLED
        with pytest.raises(TurnNotFound):
            await actor.session.cancel("x")
        assert [line for line in actor.kinds if "cancelled" in line] == ["turn_cancelled b", "turn_cancelled a"]
        assert actor.session.stored.state_json == '{"turns": 1}'


async def test_concurrent_cancels_of_a_turn_all_learn_its_end(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        held = store.hold("end_turn")
        cancels = [asyncio.ensure_future(actor.session.cancel(turn_id)) for turn_id in "aabb"]
        await store.reached["end_turn"].wait()
        cancels.append(asyncio.ensure_future(actor.session.cancel("b")))
        held.set()
        assert [turn.state for turn in await asyncio.gather(*cancels)] == [TURN_STATE_CANCELLED] * 5
    assert [line for line in actor.kinds if "cancelled" in line] in (
        ["turn_cancelled a", "turn_cancelled b"],
        ["turn_cancelled b", "turn_cancelled a"],
    )


async def test_a_cancel_while_the_outcome_is_being_stored_is_too_late() -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        held = store.hold("commit_turn")
        await actor.submit("a")
        await store.reached["commit_turn"].wait()
        cancel = asyncio.ensure_future(actor.session.cancel("a"))
        await asyncio.sleep(0)
        assert not cancel.done()
        held.set()
        assert (await cancel).state == TURN_STATE_COMPLETED
        assert [line for line in actor.kinds if line.endswith(" a")][-1] == "turn_completed a"
        assert "end_turn" not in store.calls


async def test_a_tool_start_that_is_stored_is_audited_although_its_turn_is_cancelled_meanwhile() -> None:
    called = []

    async def calling(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.tool("search", search)
        yield "found"

    async def search() -> None:
        called.append("search")

    store = RecordingStore()
    async with acting(calling, store=store) as actor:
        held = store.hold("start_tool")
        await actor.submit("a")
        await store.reached["start_tool"].wait()
        cancel = asyncio.ensure_future(actor.session.cancel("a"))
        await asyncio.sleep(0)
        held.set()
        assert (await cancel).state == TURN_STATE_CANCELLED
        assert ("tool_started", "a") in actor.audit.lines
    assert called == []


async def test_a_turn_cancelled_at_any_moment_ends_once(stage: Stage) -> None:
    """The cancel comes after so many turns of the event loop as it takes from the submit to the end, and beyond."""
    for moment in range(40):
        async with acting(quick) as actor:
            submitting = asyncio.ensure_future(actor.submit("a"))
            for _ in range(moment):
                await asyncio.sleep(0)
            try:
                ended = await actor.session.cancel("a")
            except TurnNotFound:
                await submitting
                ended = await actor.session.cancel("a")
            await submitting
            assert ended == actor.session.turn("a")
            ends = [kind_of(event) for event in actor.events() if event.seq == ended.end_seq]
            assert ends == [
                {TURN_STATE_COMPLETED: "turn_completed", TURN_STATE_CANCELLED: "turn_cancelled"}[ended.state]
            ]
            assert sum("turn_c" in line for line in actor.kinds) == 1
            assert await actor.submit("b")
            assert await actor.until_ended("b") == ["turn_completed"]


@pytest.mark.parametrize("ended_by", ["cancel", "interrupt", "close", "drain"])
async def test_an_agent_that_swallows_its_cancellation_holds_up_no_other(ended_by: str) -> None:
    stubborn = Stubborn()
    async with acting(stubborn.agent) as actor:
        await actor.submit("a")
        await stubborn.begun.wait()
        match ended_by:
            case "cancel":
                await actor.session.cancel("a")
            case "interrupt":
                await actor.submit("b", on_busy=ON_BUSY_INTERRUPT)
            case "close":
                await actor.session.close(0.0)
            case "drain":
                await actor.drain(0.0)
        assert actor.session.turn("a").state == TURN_STATE_CANCELLED
        stubborn.let_end.set()
    assert actor.session.stored.state_json == "{}"


async def test_a_stubborn_agent_does_not_keep_a_dropped_session_alive() -> None:
    stubborn = Stubborn()
    async with acting(stubborn.agent) as actor:
        await actor.submit("a")
        await stubborn.begun.wait()
        actor.drop()
        await asyncio.wait([actor.runner], timeout=GRACE_S + PATIENCE_S)
        assert actor.runner.cancelled()
        stubborn.let_end.set()
