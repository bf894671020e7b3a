"""The time that the steps of a run go by. The test kit has one that a test moves."""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class RunClock(Protocol):
    """What time it is for agents, and waiting on their behalf."""

    def now_ns(self) -> int:
        """Since 1970, in UTC: what `ctx.now()` is made of."""

    def now_s(self) -> float:
        """Since some fixed moment."""

    async def sleep(self, duration_s: float) -> None:
        """Between two tries of a step."""

    def timeout(self, duration_s: float | None) -> AbstractAsyncContextManager[Any]:
        """As asyncio.timeout."""


class SystemClock:
    """The machine's."""

    def now_ns(self) -> int:
        """As RunClock."""
        return time.time_ns()

    def now_s(self) -> float:
        """As RunClock: by the event loop, so within a run alone."""
        return asyncio.get_running_loop().time()

    async def sleep(self, duration_s: float) -> None:
        """As RunClock."""
        await asyncio.sleep(duration_s)

    def timeout(self, duration_s: float | None) -> AbstractAsyncContextManager[Any]:
        """As RunClock."""
        return asyncio.timeout(duration_s)


SYSTEM_CLOCK = SystemClock()
