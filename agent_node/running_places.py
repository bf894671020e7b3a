"""A node's places for running turns and task runs, and how many may wait for one.

Guarantees: no more run than there are places; those that wait for one are let in first come, first served; a turn that
is new is refused (TOO_MANY_TURNS) while so many wait already, so what a node is asked to keep in memory is bounded also
where every session is asked at once. Turns that are being accepted at one moment may go beyond the limit by as many.
What was accepted once is never refused: it waits. Shared by the sessions and task runs of one incarnation.
"""

import asyncio
from types import TracebackType
from typing import Literal

from agentring.errors import TooManyTurns


class RunningPlaces(asyncio.Semaphore):
    """The places; used as any semaphore."""

    def __init__(self, places: int, max_waiting: int) -> None:
        """max_waiting: so many may wait before a new turn is refused."""
        super().__init__(places)
        self._max_waiting = max_waiting
        self.waiting = 0
        """How many wait for a place now."""

    @property
    def has_room(self) -> bool:
        """Whether a new turn may run or wait."""
        return not self.locked() or self.waiting < self._max_waiting

    def check_room(self) -> None:
        """Raises TooManyTurns."""
        if not self.has_room:
            raise TooManyTurns

    async def acquire(self) -> Literal[True]:
        """Takes a place, once there is one."""
        self.waiting += 1
        try:
            return await super().acquire()
        finally:
            self.waiting -= 1


class RunningPlace:
    """One turn's place: `async with` takes it and gives it up; one that ends without a place gives up nothing."""

    def __init__(self, places: RunningPlaces) -> None:
        """places: the node's."""
        self._places = places
        self._has_one = False

    async def __aenter__(self) -> "RunningPlace":
        await self.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_up()

    async def take(self) -> None:
        """Waits for a place. Cancellation: there is none."""
        await self._places.acquire()
        self._has_one = True

    def give_up(self) -> None:
        """Lets another turn have it."""
        if self._has_one:
            self._has_one = False
            self._places.release()
