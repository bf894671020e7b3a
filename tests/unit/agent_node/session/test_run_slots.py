"""A session's turns wait for the node's run slots."""

import asyncio

import pytest

from agentring.errors import (
    TooManyTurns,
)
from agentring.v1.session_pb2 import (
    ON_BUSY_ENQUEUE,
    ON_BUSY_INTERRUPT,
    ON_BUSY_REJECT,
    TURN_STATE_CANCELLED,
)
from harness.premises import Stage
from harness.sessions import acting


async def test_a_turn_that_waits_for_a_slot_can_be_cancelled(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        slots = actor.session.slots
        for _ in range(10):
            await slots.acquire(actor.session.ref.tenant)
        await actor.submit("a")
        while actor.session.running_turn_id is None:  # noqa: ASYNC110  nothing says that a turn waits for its slot
            await asyncio.sleep(0)
        assert (await actor.session.cancel("a")).state == TURN_STATE_CANCELLED
        assert "turn_started a" not in actor.kinds
        for _ in range(10):
            slots.release()
        stage.go.set()
        await actor.submit("b")
        assert await actor.until_ended("b") == ["turn_completed"]


async def test_where_too_many_turns_wait_for_a_slot_a_new_one_is_refused_and_nothing_else(stage: Stage) -> None:
    stage.go.set()
    async with acting(stage.held) as actor:
        await actor.submit("known")
        await actor.until_ended("known")
        slots = actor.session.slots
        for _ in range(10):
            await slots.acquire(actor.session.ref.tenant)
        waiting = [asyncio.create_task(slots.acquire(actor.session.ref.tenant)) for _ in range(9)]
        await actor.submit("a")
        while slots.waiting < 10:  # noqa: ASYNC110  nothing says that a turn waits for its slot
            await asyncio.sleep(0)
        assert await actor.submit("b")  # its session's mailbox bounds what waits behind another
        assert (await actor.session.cancel("b")).state == TURN_STATE_CANCELLED
        assert (await actor.session.cancel("a")).state == TURN_STATE_CANCELLED
        waiting.append(asyncio.create_task(slots.acquire(actor.session.ref.tenant)))
        while slots.waiting < 10:  # noqa: ASYNC110
            await asyncio.sleep(0)
        stored = len(actor.store.turns)
        for on_busy in (ON_BUSY_ENQUEUE, ON_BUSY_REJECT, ON_BUSY_INTERRUPT):
            with pytest.raises(TooManyTurns):
                await actor.submit("x", on_busy=on_busy)
        assert len(actor.store.turns) == stored
        assert not await actor.submit("known")  # sent again, not run
        for _ in range(20):
            slots.release()
        await asyncio.gather(*waiting)
        await actor.submit("x")
        assert await actor.until_ended("x") == ["turn_completed"]
