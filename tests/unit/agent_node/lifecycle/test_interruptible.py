"""A step that an event may interrupt."""

import asyncio

import pytest

from agent_node.lifecycle.interruptible import unless_set


class Failed(Exception):
    """Of a step."""


async def test_a_step_that_ends_first_gives_its_result() -> None:
    async def step() -> str:
        return "done"

    assert await unless_set(asyncio.Event(), step()) == "done"


async def test_an_event_that_is_set_first_cancels_the_step() -> None:
    event, begun, cleaned_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def step() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()
        return "done"

    waiting = asyncio.ensure_future(unless_set(event, step()))
    await begun.wait()
    event.set()
    assert await waiting is None
    assert cleaned_up.is_set()


async def test_a_steps_error_is_raised_as_it_is_and_not_in_a_group() -> None:
    async def step() -> str:
        raise Failed

    with pytest.raises(Failed):
        await unless_set(asyncio.Event(), step())


async def test_a_step_that_does_not_mind_its_cancellation_is_awaited_and_counts() -> None:
    event, begun, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def step() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await may_end.wait()
        return "done"

    waiting = asyncio.ensure_future(unless_set(event, step()))
    await begun.wait()
    event.set()
    done, _ = await asyncio.wait([waiting], timeout=0)
    assert not done
    may_end.set()
    assert await waiting == "done"


async def test_who_is_cancelled_while_waiting_takes_the_step_along() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def step() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    waiting = asyncio.ensure_future(unless_set(asyncio.Event(), step()))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert cancelled.is_set()
