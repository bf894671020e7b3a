"""How a session's coroutines wait for something of its state: they say what for, and look again after each change.

Sessions that are idle are many, and nobody waits in them, so one without waiters is small: an asyncio.Condition would
take 1 KiB.
"""

import asyncio
from collections.abc import Callable


class ChangeSignal:
    """Says that the state has changed."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    async def until(self, reached: Callable[[], bool]) -> None:
        """Returns once `reached` holds, at a wake or now. Cancellation: nothing is left behind."""
        while not reached():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def wake(self) -> None:
        """Has all who wait look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
