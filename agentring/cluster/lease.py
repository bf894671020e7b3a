"""One etcd lease, kept alive, and the fence: the moment from which its holder must act as if it were lost.

Guarantees: `check()` raises from the fence time F on, whatever the network or the scheduler did, because F depends only
on when a renewal was *sent* (etcd counts from its arrival, which is later) and on a clock that runs while the process
or the machine sleeps. An answer that arrives after F extends nothing. Does not guarantee that etcd has forgotten the
lease at F, only that it has not before.

The race it prevents: a process stopped for longer than the TTL wakes up, finds a renewal's answer in its socket and
goes on, while another node has taken over. F = send time of the last acknowledged renewal + granted TTL - margin, with
margin = max(1 s, 0.2 TTL). That a holder must count less time than the grantor is the rule of Gray and Cheriton,
"Leases" (SOSP 1989).

Called by registration (which attaches keys to it) and by the node's app (which awaits the fence).
"""

import asyncio
from enum import StrEnum

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.errors import NodeFenced

RENEWALS_PER_TTL = 4
PATIENCES_PER_TTL = 6
"""A renewal that is not answered within such a part of the TTL is followed by another one. Its own answer counts until
F all the same, or a node that is only slow would lose its lease."""
RETRIES_PER_TTL = 20
"""After a renewal that failed the next one is not due in TTL/4 but this soon after it was sent, or, where it took
longer to fail, at once: another endpoint may answer, and a refused connection must not cost a quarter of the TTL."""

_log = structlog.get_logger()


class FenceReason(StrEnum):
    """Why a lease's holder stopped."""

    NOT_RENEWED = "NOT_RENEWED"
    """F came without a renewal being acknowledged."""
    LEASE_GONE = "LEASE_GONE"
    """etcd says that it does not know the lease."""
    KEY_GONE = "KEY_GONE"
    """The holder's own key was deleted or replaced."""
    REVOKED = "REVOKED"
    """The holder gave it up."""
    NOT_SERVING = "NOT_SERVING"
    """The holder found that nobody can reach it."""
    STORE_REPLACED = "STORE_REPLACED"
    """What is in the place of the holder's store is not what it had opened."""
    HALTS_UNREAD = "HALTS_UNREAD"
    """What is halted could not be read for as long as the lease lasts without a renewal."""
    HISTORY_BROKEN = "HISTORY_BROKEN"
    """etcd's data went back in time or are another cluster's."""


class Lease:
    """A granted lease.

    Resource handling: `grant` makes it; one task must run `keep()`; `revoke()` ends it.
    """

    def __init__(self, etcd: EtcdClient, clock: Clock, lease_id: int, ttl_s: int, granted_at_s: float) -> None:
        """granted_at_s: when the grant was *sent*."""
        self._etcd = etcd
        self._clock = clock
        self._ttl_s = ttl_s
        self._fence_at_s = granted_at_s + ttl_s - self.margin_s
        self._due_at_s = granted_at_s + ttl_s / RENEWALS_PER_TTL
        self._acknowledged_s = granted_at_s
        """When the newest renewal that was acknowledged was sent."""
        self._reason: FenceReason | None = None
        self._fenced = asyncio.Event()
        self.lease_id = lease_id
        self.renewals_failed = 0
        """Renewals that were not acknowledged in time."""
        self.failing = False
        """Whether the last renewal failed."""

    @classmethod
    async def grant(cls, etcd: EtcdClient, clock: Clock, ttl_s: int) -> "Lease":
        """Asks etcd for a lease of ttl_s seconds. Raises EtcdError."""
        sent_at_s = clock.now_s()
        lease_id, granted_ttl_s = await etcd.grant(ttl_s)
        return cls(etcd, clock, lease_id, granted_ttl_s, sent_at_s)

    @property
    def ttl_s(self) -> int:
        """How long etcd keeps the lease without a renewal."""
        return self._ttl_s

    @property
    def margin_s(self) -> float:
        """How long before etcd may forget the lease its holder stops."""
        return max(1.0, 0.2 * self._ttl_s)

    @property
    def fence_at_s(self) -> float:
        """F, on the clock. Read by the watchdog's thread too."""
        return self._fence_at_s

    @property
    def fence_in_s(self) -> float:
        """Seconds until F; 0 once fenced."""
        return 0.0 if self._reason else max(0.0, self._fence_at_s - self._clock.now_s())

    @property
    def reason(self) -> FenceReason | None:
        """Why it is fenced; None: it is not, as far as was noticed."""
        return self._reason

    def check(self) -> None:
        """Raises NodeFenced from F on. Called before every turn, store write, tool start and event write."""
        # Invariant: nothing passes from F on, whatever etcd answers (tests/unit/agentring/cluster/test_lease.py).
        if self._reason is None and self._clock.now_s() >= self._fence_at_s:
            self.fence(FenceReason.NOT_RENEWED)
        if self._reason is not None:
            raise NodeFenced

    def check_delivery(self) -> None:
        """As `check`, for delivering what was written while the lease stood: passes once the holder has given it up by
        itself, as a drained node does, which still owes its readers their last events."""
        if self._reason is not FenceReason.REVOKED:
            self.check()

    def fence(self, reason: FenceReason) -> None:
        """Stops the holder now; the first reason stays."""
        if self._reason is None:
            self._reason = reason
            self._fenced.set()

    async def fenced(self) -> FenceReason:
        """Returns once fenced, with the reason. Cancellation: changes nothing."""
        await self._fenced.wait()
        assert self._reason is not None
        return self._reason

    async def keep(self) -> FenceReason:
        """Renews until fenced, and returns the reason. Cancellation: renewing stops, so F comes."""
        under_way: set[asyncio.Task[bool]] = set()
        async with asyncio.TaskGroup() as tasks:
            while self._reason is None:
                await self._clock.sleep(min(self._due_at_s, self._fence_at_s) - self._clock.now_s())
                if self._clock.now_s() >= self._fence_at_s:
                    self.fence(FenceReason.NOT_RENEWED)
                if self._reason is None:
                    renewal = tasks.create_task(self._renew())
                    under_way.add(renewal)
                    renewal.add_done_callback(under_way.discard)
                    await self._wait_for(renewal)
            for renewal in under_way:
                renewal.cancel()
        return self._reason

    async def _wait_for(self, renewal: asyncio.Task[bool]) -> None:
        """Returns with its end, or once it is time for another one, or for the fence."""
        sent_at_s = self._clock.now_s()
        patience_s = min(self._ttl_s / PATIENCES_PER_TTL, self._fence_at_s - sent_at_s)
        waiting = asyncio.ensure_future(self._clock.sleep(patience_s))
        try:
            await asyncio.wait([renewal, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if renewal.done() and renewal.result():
            self._due_at_s = sent_at_s + self._ttl_s / RENEWALS_PER_TTL
        else:
            self.failing = True
            self.renewals_failed += 1
            self._due_at_s = sent_at_s + self._ttl_s / RETRIES_PER_TTL

    async def _renew(self) -> bool:
        """Sends one renewal; whether it was answered. Other ones may have been sent, and answered, meanwhile."""
        sent_at_s = self._clock.now_s()
        try:
            ttl_s = await self._etcd.keep_alive(
                self.lease_id,
                timeout_s=self._fence_at_s - sent_at_s,  # an answer that comes after F extends nothing
                patience_s=self._ttl_s / PATIENCES_PER_TTL,
            )
        except EtcdError:
            return False
        self.failing = False
        if ttl_s <= 0:
            self.fence(FenceReason.LEASE_GONE)
        elif self._clock.now_s() < self._fence_at_s and sent_at_s > self._acknowledged_s:
            self._acknowledged_s = sent_at_s
            self._fence_at_s = sent_at_s + min(ttl_s, self._ttl_s) - self.margin_s
        return True

    async def revoke(self, *, timeout_s: float = 2.0) -> None:
        """Fences the holder, then ends the lease in etcd, which deletes every key on it. Raises EtcdError; the lease
        then runs out by itself."""
        self.fence(FenceReason.REVOKED)
        await self._etcd.revoke(self.lease_id, timeout_s=timeout_s)

    async def revoke_quietly(self) -> None:
        """As `revoke`, where it is no fault if etcd does not hear it: the lease then runs out by itself."""
        try:
            await self.revoke()
        except EtcdError:
            _log.warning("lease_left_to_expire", lease_id=self.lease_id)
