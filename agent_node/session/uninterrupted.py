"""Runs a change to its end although the caller goes away: a client that hangs up cancels the call that serves it, and
a turn can be cancelled, but what is half stored must be finished."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def run_to_end(tasks: asyncio.TaskGroup, change: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs `change` in a task of its own and returns its outcome. tasks: owns the task; what the change raises goes to
    the caller and not to the group. Raises what the change raises. Cancellation: the change goes on."""
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    task = tasks.create_task(_run(change, outcome))
    task.add_done_callback(lambda _: outcome.cancel())  # the task itself was cancelled, perhaps before its first step
    return await outcome  # the caller's alone, so its cancellation reaches no further


async def _run(change: Callable[[], Coroutine[Any, Any, T]], outcome: "asyncio.Future[T]") -> None:
    try:
        result = await change()
    except Exception as error:
        if not outcome.done():  # else the caller has gone
            outcome.set_exception(error)
    else:
        if not outcome.done():
            outcome.set_result(result)
