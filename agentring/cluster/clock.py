"""Time for leases and fences: CLOCK_BOOTTIME, which also runs while the machine sleeps and never jumps.

No decision here or elsewhere reads the wall clock. Tests put a clock of their own in its place.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow, and waiting for them to pass."""

    def now_s(self) -> float:
        """Seconds since some fixed moment."""

    async def sleep(self, duration_s: float) -> None:
        """Returns after about duration_s; at once where it is not positive."""


class BootClock:
    """The machine's own clock since boot."""

    def now_s(self) -> float:
        """Seconds since boot, time asleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, duration_s: float) -> None:
        """Sleeps on the event loop. The loop's clock stops while the machine sleeps: compare now_s afterwards."""
        await asyncio.sleep(max(0.0, duration_s))
