"""A lease on a clock of the test's own, with an etcd that answers when and what the test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdUnavailable
from agentring.cluster.lease import FenceReason, Lease
from agentring.errors import NodeFenced
from harness.clock import PATIENCE_S, FakeClock

LEASE_ID = 77


TTL_S, MARGIN_S, INTERVAL_S, ANOTHER_S, RETRY_S = 30, 6.0, 7.5, 5.0, 1.5
"""Of the default lease here: F is 24 s after the last acknowledged renewal was sent."""


class Renewal:
    """A renewal that is under way."""

    def __init__(self, clock: FakeClock, timeout_s: float) -> None:
        self.sent_at_s = clock.now_s()
        self.timeout_s = timeout_s
        self._clock = clock
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def granted(self, ttl_s: int = TTL_S) -> None:
        """etcd answers."""
        self.answer.set_result(ttl_s)

    def failed(self) -> None:
        """The connection breaks."""
        self.answer.set_exception(EtcdUnavailable(outcome_unknown=True))

    def silence(self, until_s: float = float("inf")) -> None:
        """No answer comes until it is time for another renewal, or until a moment."""
        self._clock.advance_to(min(self.sent_at_s + ANOTHER_S, until_s))


class ScriptedEtcd:
    """The three calls that a lease makes; the test answers each renewal."""

    def __init__(self, clock: FakeClock, ttl_s: int = TTL_S) -> None:
        self.revoked: list[tuple[int, float]] = []
        self.revocation_fails = False
        self.grant_takes_s = 0.0
        self._clock = clock
        self._ttl_s = ttl_s
        self._renewals: asyncio.Queue[Renewal] = asyncio.Queue()

    async def grant(self, ttl_s: int) -> tuple[int, int]:
        self._clock.advance(self.grant_takes_s)
        return LEASE_ID, max(ttl_s, self._ttl_s)

    async def keep_alive(self, lease_id: int, *, timeout_s: float, patience_s: float) -> int:
        assert (lease_id, patience_s) == (LEASE_ID, ANOTHER_S)
        renewal = Renewal(self._clock, timeout_s)
        self._renewals.put_nowait(renewal)
        return await renewal.answer

    async def revoke(self, lease_id: int, *, timeout_s: float) -> None:
        self.revoked.append((lease_id, timeout_s))
        if self.revocation_fails:
            raise EtcdUnavailable(outcome_unknown=True)

    async def next_renewal(self) -> Renewal:
        """The next one that the lease sends."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._renewals.get()

    @property
    def idle(self) -> bool:
        """Whether every renewal was seen by the test."""
        return self._renewals.empty()


class KeptLease:
    """A lease, its clock, its etcd, and the task that keeps it."""

    def __init__(self, clock: FakeClock, etcd: ScriptedEtcd, lease: Lease) -> None:
        self.clock = clock
        self.etcd = etcd
        self.lease = lease
        self.began_s = clock.now_s()
        self.keeping = asyncio.ensure_future(lease.keep())

    def at(self, offset_s: float) -> None:
        """Moves the clock to so long after the grant."""
        self.clock.advance_to(self.began_s + offset_s)

    async def settled(self) -> None:
        """Lets everybody go on who can."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def renewal_at(self, offset_s: float) -> Renewal:
        """Moves the clock to the moment at which the next renewal must be due, and returns it."""
        await self.settled()
        assert await self.clock.next_due_s() == self.began_s + offset_s
        assert self.etcd.idle
        self.at(offset_s)
        return await self.etcd.next_renewal()

    async def next_event(self) -> float | Renewal | FenceReason:
        """What the lease does next: sleep until a moment, renew, or end."""
        await self.settled()
        asleep = asyncio.ensure_future(self.clock.next_due_s())
        renewing = asyncio.ensure_future(self.etcd.next_renewal())
        try:
            await asyncio.wait([asleep, renewing, self.keeping], return_when=asyncio.FIRST_COMPLETED)
            await self.settled()
            for each in (self.keeping, renewing, asleep):
                if each.done():
                    return each.result()
            raise AssertionError
        finally:
            asleep.cancel()
            renewing.cancel()

    async def ended(self) -> FenceReason:
        """What `keep` returns."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.keeping


def is_fenced(lease: Lease) -> bool:
    try:
        lease.check()
    except NodeFenced:
        return True
    return False


async def granted(clock: FakeClock, etcd: ScriptedEtcd, ttl_s: int = TTL_S) -> Lease:
    return await Lease.grant(cast(EtcdClient, etcd), clock, ttl_s)


@asynccontextmanager
async def kept_lease(ttl_s: int = TTL_S) -> AsyncIterator[KeptLease]:
    clock = FakeClock()
    etcd = ScriptedEtcd(clock, ttl_s)
    running = KeptLease(clock, etcd, await granted(clock, etcd, ttl_s))
    try:
        yield running
    finally:
        running.keeping.cancel()
        await asyncio.wait([running.keeping])
