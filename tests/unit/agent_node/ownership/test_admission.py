"""Bounded load: where new sessions go when the ring would put too many on one node."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent_node.ownership.admission import FEWEST, RECOUNT_EVERY_S, Admission, BoundedLoad, share_limit
from agentring.cluster.etcd.errors import EtcdUnavailable
from agentring.cluster.keys import Keys
from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import NodeId, parse_session
from harness.clock import FakeClock
from harness.memberships import node, snapshot

FACTOR = 1.25


def fill(counts: dict[NodeId, int], members: MembershipSnapshot, first: int, last: int) -> None:
    """Puts new sessions where a router's walk ends, each on the first of its candidates that takes it."""
    ring = Ring(members)
    for index in range(first, last):
        for candidate in ring.candidates(parse_session("", f"session-{index}").ring_key):
            if counts[candidate.node_id] < share_limit(
                FACTOR, sum(counts.values()), members, candidate.node_id, "echo"
            ):
                counts[candidate.node_id] += 1
                break
        else:
            raise AssertionError(f"nobody takes session {index}: {counts}")


def test_no_node_has_more_than_the_factor_times_its_share() -> None:
    members = snapshot(*(node(f"n{index}", weight=1 + index % 2) for index in range(5)))
    counts = dict.fromkeys(members.nodes, 0)
    fill(counts, members, 0, 5_000)
    weights = sum(each.weight for each in members.nodes.values())
    for node_id, count in counts.items():
        assert count <= FACTOR * 5_000 * members.nodes[node_id].weight / weights + 1, counts


def test_a_newcomer_fills_first() -> None:
    members = snapshot(*(node(f"n{index}") for index in range(3)))
    counts = dict.fromkeys(members.nodes, 0)
    fill(counts, members, 0, 3_000)
    before = dict(counts)
    members = snapshot(*members.nodes.values(), node("new"))
    counts[NodeId("new")] = 0
    fill(counts, members, 3_000, 3_500)
    full = {node_id for node_id, count in before.items() if count >= FACTOR * 3_000 / 4}
    assert full
    assert all(counts[node_id] <= max(before[node_id], FACTOR * 3_500 / 4 + 1) for node_id in before)
    assert counts[NodeId("new")] > 1.5 * max(counts[node_id] - before[node_id] for node_id in before)


@pytest.mark.parametrize(("sessions", "limit"), [(0, FEWEST), (50, FEWEST), (399, 250.0)])
def test_chance_among_few_sessions_refuses_nobody(sessions: int, limit: float) -> None:
    members = snapshot(node("a"), node("b"))
    assert share_limit(FACTOR, sessions, members, NodeId("a"), "echo") == limit


def test_draining_nodes_have_no_share_and_a_node_that_knows_nobody_no_limit() -> None:
    members = snapshot(node("a"), node("b", active=False))
    assert share_limit(FACTOR, 799, members, NodeId("a"), "echo") == 1_000.0
    assert share_limit(FACTOR, 799, members, NodeId("b"), "echo") == float("inf")
    assert share_limit(FACTOR, 799, None, NodeId("a"), "echo") == float("inf")


def test_only_those_count_that_host_the_agent() -> None:
    members = snapshot(node("a"), node("b"), node("c", agents=("echo", "rare")))
    assert share_limit(FACTOR, 899, members, NodeId("c"), "echo") == 375.0
    assert share_limit(FACTOR, 899, members, NodeId("c"), "rare") == 1_125.0  # more than there are


class Cluster:
    """Nodes of the same weight that count on the same etcd, and what each of them has."""

    def __init__(self, nodes: int, *, max_sessions: int = 1_000_000, load_factor: float = FACTOR) -> None:
        self.clock = FakeClock()
        self.counts = [0] * nodes
        self.unclaimed = 0
        """Sessions that the nodes have and etcd has not yet."""
        self.arriving = 0
        """So many of each node's, as the node knows."""
        self.counted = 0
        """How often etcd was asked."""
        self.go = asyncio.Event()
        self.go.set()
        self.broken = False
        members = snapshot(*(node(f"n{index}") for index in range(nodes)))
        self.loads = [
            BoundedLoad(
                cast(Any, self),
                Keys("c"),
                self.clock,
                cast(Any, SimpleNamespace(current=members)),
                NodeId(f"n{index}"),
                load_factor=load_factor,
                max_sessions=max_sessions,
                arriving=lambda: self.arriving,
            )
            for index in range(nodes)
        ]

    async def count(self, _prefix: str) -> int:
        self.counted += 1
        await self.go.wait()
        if self.broken:
            raise EtcdUnavailable
        return sum(self.counts) - self.unclaimed

    async def takes_new(self, index: int) -> bool:
        """One more, if the node takes it."""
        taken = await self.loads[index].takes_new(lambda: self.counts[index], "echo")
        self.counts[index] += taken
        return taken


@asynccontextmanager
async def counting(
    *sessions: int, max_sessions: int = 1_000_000, load_factor: float = FACTOR
) -> AsyncIterator[Cluster]:
    """Nodes with so many sessions, each after its first count; no further one is due before the clock moves."""
    cluster = Cluster(len(sessions), max_sessions=max_sessions, load_factor=load_factor)
    cluster.counts = list(sessions)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(load.count(partial(cluster.counts.__getitem__, index)))
            for index, load in enumerate(cluster.loads)
        ]
        if load_factor:
            await cluster.clock.next_due_s(len(tasks))
        yield cluster
        for task in tasks:
            task.cancel()


async def test_nodes_that_fill_together_from_nothing_refuse_nobody() -> None:
    async with counting(0, 0, 0) as cluster:
        for number in range(3_000):
            assert await cluster.takes_new(number % 3), cluster.counts
        assert cluster.counted < 150


async def test_sessions_whose_claims_are_on_their_way_are_not_forgotten() -> None:
    """Else nodes that fill at once would refuse what both have room for."""
    async with counting(0, 0) as cluster:
        cluster.arriving = on_their_way = 60
        for index in range(2):
            while cluster.counts[index] < on_their_way:
                assert await cluster.takes_new(index), cluster.counts
        cluster.unclaimed = 2 * on_their_way
        cluster.clock.advance(RECOUNT_EVERY_S)
        assert await cluster.takes_new(0), cluster.counts


async def test_a_full_node_refuses_many_with_one_count_and_looks_again_soon() -> None:
    async with counting(200, 0) as cluster:
        before = cluster.counted
        cluster.counts[1] = 200  # which it does not know
        for _ in range(20):
            assert not await cluster.takes_new(0)
        assert cluster.counted == before
        cluster.clock.advance(RECOUNT_EVERY_S)
        assert await cluster.takes_new(0)
        assert cluster.counted == before + 1


async def test_a_node_that_has_refused_many_learns_that_they_are_elsewhere() -> None:
    async with counting(200, 0) as cluster:
        for _ in range(400):
            if not await cluster.takes_new(0):
                assert await cluster.takes_new(1)
        assert min(cluster.counts) > 200
        assert max(cluster.counts) <= FACTOR * sum(cluster.counts) / 2 + 1
        assert cluster.counted < 40


async def test_those_that_ask_together_wait_for_one_count() -> None:
    async with counting(200, 0) as cluster:
        before = cluster.counted
        cluster.clock.advance(RECOUNT_EVERY_S)
        cluster.counts[1] = 130  # now there is room for some
        cluster.go.clear()
        asking = [asyncio.ensure_future(cluster.takes_new(0)) for _ in range(20)]
        await asyncio.sleep(0)
        cluster.go.set()
        assert sum(await asyncio.gather(*asking)) == 19
        assert cluster.counted == before + 1
        assert cluster.counts[0] <= FACTOR * sum(cluster.counts) / 2 + 1


async def test_without_etcd_the_last_count_holds() -> None:
    async with counting(200, 0) as cluster:
        cluster.broken = True
        cluster.clock.advance(RECOUNT_EVERY_S)
        assert not await cluster.takes_new(0)
        assert await cluster.takes_new(1)


async def test_without_a_factor_the_nodes_own_limit_counts_alone() -> None:
    async with counting(49, 0, max_sessions=50, load_factor=0.0) as cluster:
        assert await cluster.takes_new(0)
        assert not await cluster.takes_new(0)
        assert cluster.counted == 0


class Admitting:
    """One node with a limit of its own, whose idle sessions can be evicted one at a time."""

    def __init__(self, sessions: int, idle: int, *, share: int = 1_000_000, memory_exceeded: bool = False) -> None:
        self.sessions = sessions
        self.idle = idle
        self.others_arrive = False
        """Whether another call's session takes each place that an eviction has made."""
        self.evictions = 0
        self._share = share
        load = cast(BoundedLoad, SimpleNamespace(takes_new=self._takes_new))
        self.admission = Admission(load, max_sessions=100, memory_exceeded=lambda: memory_exceeded, evict=self._evict)

    async def admits(self) -> bool:
        return await self.admission.admit(lambda: self.sessions, "echo")

    async def _takes_new(self, sessions: Callable[[], int], agent: str) -> bool:
        assert agent == "echo"
        return sessions() < min(100, self._share)

    async def _evict(self) -> bool:
        if not self.idle:
            return False
        self.evictions += 1
        self.idle -= 1
        self.sessions -= not self.others_arrive
        return True


async def test_a_full_node_evicts_an_idle_session_for_a_new_one() -> None:
    node = Admitting(sessions=100, idle=5)
    assert await node.admits()
    assert node.evictions == 1


async def test_a_full_node_without_idle_sessions_refuses() -> None:
    assert not await Admitting(sessions=100, idle=0).admits()


async def test_a_node_whose_share_is_used_up_refuses_and_evicts_nothing() -> None:
    node = Admitting(sessions=50, idle=5, share=50)
    assert not await node.admits()
    assert node.evictions == 0


async def test_a_node_whose_places_others_take_gives_up_after_some_evictions() -> None:
    node = Admitting(sessions=100, idle=50)
    node.others_arrive = True
    assert not await node.admits()
    assert node.evictions == 4


async def test_beyond_its_memory_a_node_takes_a_session_only_for_an_idle_one() -> None:
    node = Admitting(sessions=10, idle=1, memory_exceeded=True)
    assert await node.admits()
    assert node.evictions == 1
    assert not await node.admits()
