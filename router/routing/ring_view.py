"""The router's current ring: follows the membership and swaps in a new ring for each snapshot.

Guarantees: whoever reads `current` gets one consistent ring; it is built on another thread, off the relay's path. Owned
by the app, read by the owner look-up and by ClusterService.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.flapping import Flapping
from agentring.cluster.membership import Membership
from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import CoordinatorUnavailable

_log = structlog.get_logger()


class RingView:
    """The latest ring and the snapshot that it was built from."""

    def __init__(self, membership: Membership, clock: Clock) -> None:
        """membership: whose snapshots are followed."""
        self._clock = clock
        self.flapping = Flapping()
        self._membership = membership
        self._current: tuple[MembershipSnapshot, Ring] | None = None
        self._listeners: list[Callable[[MembershipSnapshot], Awaitable[None]]] = []
        self.synced = asyncio.Event()
        """Set once there is a first ring."""

    @property
    def ring(self) -> Ring:
        """The latest ring. Raises CoordinatorUnavailable before the first one, and while the membership is closed."""
        return self._both()[1]

    @property
    def snapshot(self) -> MembershipSnapshot:
        """What the latest ring was built from. Raises CoordinatorUnavailable as `ring`."""
        return self._both()[0]

    def on_change(self, listener: Callable[[MembershipSnapshot], Awaitable[None]]) -> None:
        """Calls the listener after each swap."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follows until cancelled."""
        snapshot, due_s = None, None
        while True:
            snapshot = await self._next(snapshot, due_s)
            steady, due_s = self.flapping.steady(snapshot, self._clock.now_s())
            ring = await asyncio.to_thread(Ring, steady)
            self._current = (snapshot, ring)
            _log.info("ring_changed", revision=ring.revision, nodes=len(ring), checksum=ring.checksum)
            self.synced.set()
            for listener in self._listeners:
                await listener(snapshot)

    async def _next(self, before: MembershipSnapshot | None, due_s: float | None) -> MembershipSnapshot:
        """The next snapshot; the same again once a node may stand on the ring that was kept off it."""
        if before is None or due_s is None:
            return await self._membership.next(before)
        try:
            async with asyncio.timeout(max(0.0, due_s - self._clock.now_s())):
                return await self._membership.next(before)
        except TimeoutError:
            return before

    def _both(self) -> tuple[MembershipSnapshot, Ring]:
        if self._current is None or self._membership.current is None:
            raise CoordinatorUnavailable
        return self._current
