"""Tasks that a test owns without a block of its own around it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def own_tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group in a task of its own, so that the one who enters and the one who leaves need not be the same; at
    the end its tasks must have ended."""
    ready: asyncio.Future[asyncio.TaskGroup] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def hold() -> None:
        async with asyncio.TaskGroup() as tasks:
            ready.set_result(tasks)
            await over.wait()

    holding = asyncio.create_task(hold())
    try:
        yield await ready
    finally:
        over.set()
        async with asyncio.timeout(20):
            await holding
