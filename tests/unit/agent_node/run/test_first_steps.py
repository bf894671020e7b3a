"""A coroutine that begins before its task does is the task's from its first step on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from agent_node.run.first_steps import FirstSteps
from harness.clock import PATIENCE_S

NAME: ContextVar[str] = ContextVar("name", default="")


def begun(body: Callable[[], Awaitable[None]]) -> "tuple[FirstSteps, asyncio.Task[None]]":
    async def code() -> None:
        await body()

    context = copy_context()
    steps = FirstSteps(code())
    task = asyncio.get_running_loop().create_task(steps, context=context)
    steps.take(task, context)
    return steps, task


async def test_what_never_waits_is_over_at_once_in_the_name_of_its_task() -> None:
    names: list[Any] = []

    async def body() -> None:
        NAME.set("of the code")
        names.append(asyncio.current_task())

    caller = asyncio.current_task()
    steps, task = begun(body)
    assert (steps.is_over, names, asyncio.current_task(), NAME.get()) == (True, [task], caller, "")
    await task


async def test_what_waits_goes_on_in_its_task_behind_what_it_has_had_called_soon() -> None:
    order: list[str] = []

    async def body() -> None:
        NAME.set("of the code")
        asyncio.get_running_loop().call_soon(order.append, "called soon")
        await asyncio.sleep(0)
        order.append(NAME.get())

    steps, task = begun(body)
    assert not steps.is_over
    await task
    assert order == ["called soon", "of the code"]


async def test_a_time_out_that_it_began_at_first_reaches_it_later() -> None:
    async def body() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()

    _, task = begun(body)
    await asyncio.wait_for(task, PATIENCE_S)


@pytest.mark.parametrize("rounds", [0, 1, 3])
async def test_a_cancellation_reaches_what_it_waits_for_whether_or_not_its_task_has_begun(rounds: int) -> None:
    inner: asyncio.Task[None] | None = None
    ended: list[str] = []

    async def child() -> None:
        await asyncio.Event().wait()

    async def body() -> None:
        nonlocal inner
        inner = asyncio.ensure_future(child())
        try:
            await inner
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    _, task = begun(body)
    for _ in range(rounds):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE_S)
    assert inner is not None
    assert (task.cancelled(), inner.cancelled(), ended) == (True, True, ["cancelled"])


async def test_one_that_is_cancelled_in_a_round_of_the_loop_hears_of_it() -> None:
    heard: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            heard.append("cancelled")

    _, task = begun(body)
    task.cancel()
    await task
    assert heard == ["cancelled"]


async def test_what_it_raises_at_first_is_raised_there() -> None:
    async def body() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        begun(body)
    await asyncio.sleep(0)
