"""A node's slots for running turns and task runs, and how many may wait for one.

Guarantees: no more run than there are slots; a slot that comes free goes to the waiting tenants in turn, and within a
tenant to the one that came first, so that a tenant that asks for ten thousand does not hold the others up; a new turn
is refused (TOO_MANY_TURNS) while so many wait already, so what a node is asked to keep in memory is bounded also where
every session is asked at once, but never because of what other tenants alone ask for. Turns that are being accepted at
one moment may go beyond the limit by as many. What was accepted once is never refused: it waits. Shared by the sessions
and task runs of one incarnation.
"""

import asyncio
from collections import OrderedDict
from types import TracebackType

from agentring.errors import TooManyTurns
from agentring.ids import TenantId


class RunSlots:
    """The slots; each is held as a RunSlot."""

    def __init__(self, slots: int, max_waiting: int) -> None:
        """max_waiting: so many may wait before a new turn is refused."""
        self._free = slots
        self._max_waiting = max_waiting
        self._lines: OrderedDict[TenantId, OrderedDict[asyncio.Future[None], None]] = OrderedDict()
        """Those that wait, the tenant first that is next."""
        self.waiting = 0
        """How many wait for a slot now."""

    def has_room(self, tenant: TenantId) -> bool:
        """Whether a new turn of the tenant's may run or wait."""
        return self._free > 0 or self.waiting < self._max_waiting or tenant not in self._lines

    def check_room(self, tenant: TenantId) -> None:
        """Raises TooManyTurns."""
        if not self.has_room(tenant):
            raise TooManyTurns

    def acquire_free(self) -> bool:
        """Takes a slot if one is free."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def acquire(self, tenant: TenantId) -> None:
        """Takes a slot, once one is free. Cancellation: none is taken."""
        if self.acquire_free():
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, OrderedDict())[granted] = None
        self.waiting += 1
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._leave(tenant, granted)
            else:
                self.release()  # it got one at the same moment
            raise
        finally:
            self.waiting -= 1

    def release(self) -> None:
        """Gives the slot to the next that waits."""
        while self._lines:
            tenant, line = next(iter(self._lines.items()))
            granted = next(iter(line))
            self._leave(tenant, granted)
            # Invariant: slots go to the tenants in turn (tests/unit/agent_node/run/test_slots.py).
            if tenant in self._lines:
                self._lines.move_to_end(tenant)
            if not granted.done():  # else the one that waited was cancelled, and has not noticed yet
                granted.set_result(None)
                return
        self._free += 1

    def _leave(self, tenant: TenantId, granted: "asyncio.Future[None]") -> None:
        if (line := self._lines.get(tenant)) is not None:
            line.pop(granted, None)
            if not line:
                del self._lines[tenant]


class RunSlot:
    """One run's slot: `async with` acquires it and releases it; a run that ends without its slot releases nothing."""

    def __init__(self, slots: RunSlots, tenant: TenantId) -> None:
        """slots: the node's; tenant: the run's."""
        self._slots = slots
        self._tenant = tenant
        self._is_held = False

    async def __aenter__(self) -> "RunSlot":
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    @property
    def is_held(self) -> bool:
        """Whether the run has it now."""
        return self._is_held

    def acquire_free(self) -> bool:
        """Takes a slot if one is free; whether it is held now."""
        self._is_held = self._slots.acquire_free()
        return self._is_held

    async def acquire(self) -> None:
        """Waits for a slot. Cancellation: none is held."""
        await self._slots.acquire(self._tenant)
        if self._is_held:  # another part of the run has waited for it, too
            self._slots.release()
        self._is_held = True

    def release(self) -> None:
        """Lets another run have the slot, if this one holds it."""
        if self._is_held:
            self._is_held = False
            self._slots.release()
