"""Waiting for a step that an event may interrupt. Used by the node's app and all that joins, waits or drains."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unless_set(event: asyncio.Event, step: Coroutine[Any, Any, T]) -> T | None:
    """The step's result; None: the event was set first, and the step was cancelled. Raises what the step raises."""
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(event.wait())
        running = asyncio.ensure_future(step)  # its error is the caller's, not the group's
        try:
            await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
    return None if running.cancelled() else running.result()
