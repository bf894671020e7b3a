"""A session that is closed or drained: what becomes of its turns, and that it takes no more."""

import asyncio

import pytest

from agent_node.store import Ownership
from agentring.errors import (
    NodeDraining,
    SessionClosed,
)
from agentring.v1.session_pb2 import (
    TURN_STATE_CANCELLED,
    TURN_STATE_COMPLETED,
)
from harness.clock import PATIENCE_S
from harness.premises import Stage
from harness.sessions import acting, quick
from harness.stores import RecordingStore


async def test_a_closed_session_ends_its_turns_and_takes_no_more(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        await actor.session.close(5.0)
        await actor.session.close(6.0)
        ended = [event.turn_cancelled.reason for event in actor.events() if event.HasField("turn_cancelled")]
        assert ended == ["SESSION_CLOSED"] * 2
        assert isinstance(actor.session.log.end_error, SessionClosed)
        assert (actor.session.closed, actor.session.closed_at_s) == (True, 5.0)
        with pytest.raises(SessionClosed):
            await actor.submit("c")
        assert (await actor.session.cancel("a")).state == TURN_STATE_CANCELLED
    assert actor.store.calls.count("close_session") == 1


async def test_a_drain_lets_the_accepted_turns_end_and_takes_no_more(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        draining = asyncio.ensure_future(actor.drain(PATIENCE_S))
        await stage.begun.wait()
        refused = asyncio.ensure_future(actor.submit("c"))
        assert not await actor.submit("a")
        assert not refused.done()  # if it were now, the claim would lead the caller back here
        stage.go.set()
        await draining
        with pytest.raises(NodeDraining):
            await refused
        assert await actor.until_ended("a", "b") == ["turn_completed"] * 2
        assert isinstance(actor.session.log.end_error, NodeDraining)


async def test_a_drain_waits_for_a_turn_that_is_being_accepted() -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        held = store.hold("accept_turn")
        submitting = asyncio.ensure_future(actor.submit("a"))
        await store.reached["accept_turn"].wait()
        draining = asyncio.ensure_future(actor.drain(PATIENCE_S))
        await asyncio.sleep(0)
        held.set()
        assert await submitting
        await draining
        assert actor.session.turn("a").state == TURN_STATE_COMPLETED


async def test_a_drain_cancels_what_does_not_end_in_time(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        await actor.drain(0.01)
        ended = [event.turn_cancelled.reason for event in actor.events() if event.HasField("turn_cancelled")]
        assert ended == ["NODE_DRAINING"] * 2
        assert isinstance(actor.session.log.end_error, NodeDraining)


async def test_a_turn_that_is_accepted_behind_a_drains_deadline_does_not_begin(stage: Stage) -> None:
    """Its text would have numbers that the last checkpoint leaves to the next owner."""
    store = RecordingStore(durable=True)
    accept, released, go = store.hold("accept_turn"), asyncio.Event(), asyncio.Event()
    last_seq = 0

    async def release(_owned: Ownership, _head_seq: int | None, reserved_seq: int, _received: object) -> int:
        nonlocal last_seq
        last_seq = reserved_seq
        released.set()
        await go.wait()
        return 1

    store.release = release  # type: ignore[assignment,method-assign]
    async with acting(stage.held, store=store) as actor:
        submitting = asyncio.ensure_future(actor.submit("late"))
        await store.reached["accept_turn"].wait()
        draining = asyncio.ensure_future(actor.drain(0.0))
        await asyncio.wait([draining], timeout=0.02)
        accept.set()
        assert await submitting
        await released.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert (actor.session.log.head_seq, stage.runs) == (last_seq, 0)
        go.set()
        await draining


async def test_an_idle_session_is_drained_at_once() -> None:
    async with acting(quick) as actor:
        await actor.submit("a")
        await actor.until_ended("a")
        await actor.drain(0.0)
        assert isinstance(actor.session.log.end_error, NodeDraining)
        assert actor.session.turn("a").state == TURN_STATE_COMPLETED
