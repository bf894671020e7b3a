"""What a ring costs: to build, to look up, and what a rebuild on another thread costs whoever routes meanwhile."""

import asyncio
import statistics
import time
from dataclasses import dataclass
from types import MappingProxyType

from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot, Node
from agentring.ids import Incarnation, NodeId, Revision

_LOOKUPS = 20_000
_BUILDS = 5
_TICK_S = 0.001


@dataclass(frozen=True, slots=True)
class RingCost:
    """Of one size of ring."""

    nodes: int
    build_ms: float
    """Median, alone."""
    lookup_us: float
    """Of the first candidate."""
    stall_ms: float
    """The longest that the event loop was held up while a ring was built on another thread."""
    max_over_mean: float
    """The largest share, by the mean."""


def snapshot_of(count: int) -> MembershipSnapshot:
    """So many nodes, all alike."""
    nodes = {
        NodeId(f"node-{i}"): Node(
            node_id=NodeId(f"node-{i}"),
            address=f"10.0.{i // 250}.{i % 250}:7800",
            agents=frozenset({"echo"}),
            weight=1,
            labels=MappingProxyType({}),
            active=True,
            incarnation=Incarnation(i + 1),
        )
        for i in range(count)
    }
    return MembershipSnapshot(Revision(count), MappingProxyType(nodes))


async def cost_of(count: int) -> RingCost:
    """Measures a ring of so many nodes."""
    snapshot = snapshot_of(count)
    builds_s = []
    for _ in range(_BUILDS):
        began_s = time.perf_counter()
        ring = Ring(snapshot)
        builds_s.append(time.perf_counter() - began_s)
    return RingCost(
        count,
        statistics.median(builds_s) * 1e3,
        _lookup_s(ring) * 1e6,
        await _stall_s(snapshot) * 1e3,
        max(ring.shares().values()) * count,
    )


def _lookup_s(ring: Ring) -> float:
    keys = [f"tenant/session-{i}" for i in range(_LOOKUPS)]
    began_s = time.perf_counter()
    for key in keys:
        next(ring.candidates(key))
    return (time.perf_counter() - began_s) / _LOOKUPS


async def _stall_s(snapshot: MembershipSnapshot) -> float:
    """How late a task was that wakes up every millisecond."""
    building = asyncio.ensure_future(asyncio.to_thread(Ring, snapshot))
    longest_s = 0.0
    while not building.done():
        began_s = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        longest_s = max(longest_s, time.perf_counter() - began_s - _TICK_S)
    await building
    return longest_s
