"""Changes of a session are carried out to their end although the caller goes away."""

import asyncio
from functools import partial

import pytest

from agent_node.session.uninterrupted import run_to_end
from agentring.errors import (
    SessionClosed,
)
from agentring.v1.session_pb2 import (
    ON_BUSY_INTERRUPT,
)
from harness.premises import Stage
from harness.sessions import acting, hang_up, quick
from harness.stores import RecordingStore


async def test_a_session_is_closed_although_its_caller_hung_up(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        await actor.submit("a")
        await stage.begun.wait()
        held = store.hold("end_turn")
        closing = asyncio.create_task(actor.session.close(5.0))
        await store.reached["end_turn"].wait()
        await hang_up(closing)
        with pytest.raises(SessionClosed):
            await actor.submit("b")
        second = asyncio.create_task(actor.session.close(6.0))
        held.set()
        await second
        assert actor.session.closed_at_s == 5.0
        assert isinstance(actor.session.log.end_error, SessionClosed)


async def test_a_turn_runs_although_its_caller_hung_up() -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        held = store.hold("accept_turn")
        submitting = asyncio.create_task(actor.submit("a"))
        await store.reached["accept_turn"].wait()
        await hang_up(submitting)
        second = asyncio.create_task(actor.submit("a"))
        held.set()
        assert not await second
        assert await actor.until_ended("a") == ["turn_completed"]
    assert store.calls == ["accept_turn", "commit_turn"]


async def test_a_waiting_turn_is_cancelled_although_the_caller_hung_up(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        held = store.hold("end_turn")
        cancelling = asyncio.create_task(actor.session.cancel("b"))
        await store.reached["end_turn"].wait()
        await hang_up(cancelling)
        held.set()
        stage.go.set()
        assert await actor.until_ended("a", "b") == ["turn_completed", "turn_cancelled"]


async def test_an_interrupt_takes_effect_although_its_caller_hung_up(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        held = store.hold("end_turn")
        interrupting = asyncio.create_task(actor.submit("c", on_busy=ON_BUSY_INTERRUPT))
        await store.reached["end_turn"].wait()
        await hang_up(interrupting)
        held.set()
        stage.go.set()
        await actor.until(lambda: "turn_completed c" in actor.kinds)
        assert await actor.until_ended("a", "b", "c") == ["turn_cancelled", "turn_cancelled", "turn_completed"]


class Oddity(Exception):
    """Raised by a change."""


async def test_an_outcome_goes_to_the_caller_and_an_error_to_no_one_else() -> None:
    async def change(error: Exception | None) -> str:
        await asyncio.sleep(0)
        if error is not None:
            raise error
        return "changed"

    async with asyncio.TaskGroup() as tasks:
        assert await run_to_end(tasks, partial(change, None)) == "changed"
        with pytest.raises(Oddity):
            await run_to_end(tasks, partial(change, Oddity()))
        assert await run_to_end(tasks, partial(change, None)) == "changed"  # the group lives


async def test_a_change_whose_task_is_cancelled_before_its_first_step_cancels_its_caller() -> None:
    begun = []

    async def change() -> None:
        begun.append(True)

    async def ending() -> None:
        async with asyncio.TaskGroup() as tasks:
            calls.append(asyncio.ensure_future(run_to_end(tasks, change)))
            await asyncio.sleep(0)  # the call has made its task, which has not run
            raise Oddity

    calls: list[asyncio.Future[None]] = []
    with pytest.raises(ExceptionGroup):
        await ending()
    await asyncio.wait(calls)
    assert calls[0].cancelled()
    assert begun == []
