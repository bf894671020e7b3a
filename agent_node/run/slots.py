"""A node's slots for running turns and task runs, and how many may wait for one.

Guarantees: no more run than there are slots; a slot that comes free goes to the waiting tenants in turn, within a
tenant to its subjects in turn, and within these to the one that came first, so that a tenant that asks for ten thousand
does not hold the others up; those that have as many as their limit allows are passed over; a new turn is
refused (TOO_MANY_TURNS) while so many wait already, so what a node is asked to keep in memory is bounded also where
every session is asked at once, but never because of what other tenants alone ask for. Turns that are being accepted at
one moment may go beyond the limit by as many. What was accepted once is never refused: it waits. Shared by the sessions
and task runs of one incarnation.
"""

import asyncio
from collections import OrderedDict
from types import TracebackType
from typing import Protocol

from agentring.errors import TooManyTurns
from agentring.ids import TenantId

_Waiter = asyncio.Future["CountedRun | bool"]
"""Of one that waits."""


class RunLimits(Protocol):
    """How many runs of one party may go on at a time (agent_node/quota)."""

    def may_run(self, tenant: TenantId, subject: str) -> bool:
        """Whether one more may; of no subject: by its tenant's limits."""

    def begin_run(self, tenant: TenantId, subject: str) -> "CountedRun":
        """Counts one that does."""


class CountedRun(Protocol):
    """A run that counts until it is released."""

    def release(self) -> None:
        """It has ended."""


class RunSlots:
    """The slots; each is held as a RunSlot."""

    def __init__(self, slots: int, max_waiting: int, limits: RunLimits | None = None) -> None:
        """max_waiting: so many may wait before a new turn is refused; limits: of tenants and subjects; None: there are
        none."""
        self._free = slots
        self._max_waiting = max_waiting
        self._limits = limits
        self._lines: OrderedDict[TenantId, OrderedDict[str, OrderedDict[_Waiter, None]]] = OrderedDict()
        """Those that wait by tenant and subject, the tenant first that is next, and of a tenant the subject."""
        self.waiting = 0
        """How many wait for a slot now."""

    @property
    def free(self) -> int:
        """How many slots nobody has."""
        return self._free

    def has_room(self, tenant: TenantId) -> bool:
        """Whether a new turn of the tenant's may run or wait."""
        return self._free > 0 or self.waiting < self._max_waiting or tenant not in self._lines

    def check_room(self, tenant: TenantId) -> None:
        """Raises TooManyTurns."""
        if not self.has_room(tenant):
            raise TooManyTurns

    def acquire_free(self, tenant: TenantId, subject: str = "") -> CountedRun | bool:
        """Takes a slot if one is free and the party may have it: what counts, or True; False: none was taken."""
        if not self._free:
            return False
        if self._limits is None:
            self._free -= 1
            return True
        return self._limits.may_run(tenant, subject) and self._count(tenant, subject)

    async def acquire(self, tenant: TenantId, subject: str = "") -> CountedRun | bool:
        """Takes a slot, once one is free: as acquire_free. Cancellation: none is taken."""
        if taken := self.acquire_free(tenant, subject):
            return taken
        granted: _Waiter = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, OrderedDict()).setdefault(subject, OrderedDict())[granted] = None
        self.waiting += 1
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._leave(tenant, subject, granted)
            else:
                self.release(granted.result())  # it got one at the same moment
            raise
        finally:
            self.waiting -= 1

    def release(self, taken: CountedRun | bool = True) -> None:
        """Gives a slot to the next that waits and may have it. taken: as acquire has returned it."""
        if not isinstance(taken, bool):
            taken.release()
        self._free += 1
        if self._lines:
            self.grant_free()

    def grant_free(self) -> None:
        """Gives free slots to those that wait and may have them, as after a change of the limits."""
        while self._free and (found := self._next()) is not None:
            tenant, subject, granted = found
            # Invariant: slots go to the tenants in turn (tests/unit/agent_node/run/test_slots.py).
            self._leave(tenant, subject, granted)
            if (line := self._lines.get(tenant)) is not None:
                self._lines.move_to_end(tenant)
                if subject in line:
                    line.move_to_end(subject)
            if not granted.done():  # else the one that waited was cancelled, and has not noticed yet
                granted.set_result(self._count(tenant, subject))

    def _count(self, tenant: TenantId, subject: str) -> CountedRun | bool:
        self._free -= 1
        return True if self._limits is None else self._limits.begin_run(tenant, subject)

    def _next(self) -> "tuple[TenantId, str, _Waiter] | None":
        for tenant, line in self._lines.items():
            if self._limits is not None and not self._limits.may_run(tenant, ""):
                continue  # none of its subjects may, however many wait
            for subject, waiters in line.items():
                if self._limits is None or self._limits.may_run(tenant, subject):
                    return tenant, subject, next(iter(waiters))
        return None

    def _leave(self, tenant: TenantId, subject: str, granted: "_Waiter") -> None:
        if (line := self._lines.get(tenant)) is None or (waiters := line.get(subject)) is None:
            return
        waiters.pop(granted, None)
        if not waiters:
            del line[subject]
        if not line:
            del self._lines[tenant]


class RunSlot:
    """One run's slot: `async with` acquires it and releases it; a run that ends without its slot releases nothing."""

    def __init__(self, slots: RunSlots, tenant: TenantId, subject: str = "") -> None:
        """slots: the node's; tenant, subject: whose run it is."""
        self._slots = slots
        self._tenant = tenant
        self._subject = subject
        self._taken: CountedRun | bool = False

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
        return self._taken is not False

    def acquire_free(self) -> bool:
        """Takes a slot if one is free; whether it is held now."""
        self._taken = self._slots.acquire_free(self._tenant, self._subject)
        return self._taken is not False

    async def acquire(self) -> None:
        """Waits for a slot. Cancellation: none is held."""
        taken = await self._slots.acquire(self._tenant, self._subject)
        self.release()  # another part of the run may have waited for it, too
        self._taken = taken

    def release(self) -> None:
        """Lets another run have the slot, if this one holds it."""
        taken, self._taken = self._taken, False
        if taken is not False:
            self._slots.release(taken)
