"""A node's places for running turns and task runs, and how many may wait for one.

Guarantees: no more run than there are places; a place that comes free goes to the tenants that wait for one in turn,
and within a tenant to whoever came first, so that one that asks for ten thousand does not hold the others up; a turn
that is new is refused (TOO_MANY_TURNS) while so many wait already, so what a node is asked to keep in memory is bounded
also where every session is asked at once, but never because of what other tenants alone ask for. Turns that are being
accepted at one moment may go beyond the limit by as many. What was accepted once is never refused: it waits. Shared by
the sessions and task runs of one incarnation.
"""

import asyncio
from collections import OrderedDict
from types import TracebackType

from agentring.errors import TooManyTurns
from agentring.ids import TenantId


class RunSlots:
    """The places; each is taken as a RunSlot."""

    def __init__(self, places: int, max_waiting: int) -> None:
        """max_waiting: so many may wait before a new turn is refused."""
        self._free = places
        self._max_waiting = max_waiting
        self._lines: OrderedDict[TenantId, OrderedDict[asyncio.Future[None], None]] = OrderedDict()
        """Who waits, the tenant first whose turn it is."""
        self.waiting = 0
        """How many wait for a place now."""

    def has_room(self, tenant: TenantId) -> bool:
        """Whether a new turn of the tenant's may run or wait."""
        return self._free > 0 or self.waiting < self._max_waiting or tenant not in self._lines

    def check_room(self, tenant: TenantId) -> None:
        """Raises TooManyTurns."""
        if not self.has_room(tenant):
            raise TooManyTurns

    async def acquire(self, tenant: TenantId) -> None:
        """Takes a place, once there is one. Cancellation: there is none."""
        if self._free:
            self._free -= 1
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, OrderedDict())[given] = None
        self.waiting += 1
        try:
            await given
        except asyncio.CancelledError:
            if given.cancelled():
                self._leave(tenant, given)
            else:
                self.release()  # it was given one at the same moment
            raise
        finally:
            self.waiting -= 1

    def release(self) -> None:
        """Gives a place to whoever's turn it is."""
        while self._lines:
            tenant, line = next(iter(self._lines.items()))
            given = next(iter(line))
            self._leave(tenant, given)
            if tenant in self._lines:
                self._lines.move_to_end(tenant)
            if not given.done():  # else whoever waited was cancelled, and has not noticed yet
                given.set_result(None)
                return
        self._free += 1

    def _leave(self, tenant: TenantId, given: "asyncio.Future[None]") -> None:
        if (line := self._lines.get(tenant)) is not None:
            line.pop(given, None)
            if not line:
                del self._lines[tenant]


class RunSlot:
    """One turn's place: `async with` takes it and gives it up; one that ends without a place gives up nothing."""

    def __init__(self, places: RunSlots, tenant: TenantId) -> None:
        """places: the node's; tenant: whose turn it is."""
        self._places = places
        self._tenant = tenant
        self._has_one = False

    async def __aenter__(self) -> "RunSlot":
        await self.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_up()

    async def take(self) -> None:
        """Waits for a place. Cancellation: there is none."""
        await self._places.acquire(self._tenant)
        self._has_one = True

    def give_up(self) -> None:
        """Lets another turn have it."""
        if self._has_one:
            self._has_one = False
            self._places.release()
