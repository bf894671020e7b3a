"""Snapshots follow etcd, by the watch or else by reading anew."""

import asyncio
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from agentring.cluster.clock import BootClock
from agentring.cluster.etcd.client import WATCH_SILENCE_S, EtcdClient
from agentring.cluster.etcd.errors import EtcdUnavailable
from agentring.cluster.etcd.types import Put, RangeResult, WatchBatch
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.new_generation import begin_new_generation
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import NodeId, Revision
from harness.clock import FakeClock
from harness.etcd import EtcdProcess
from harness.etcd_faults import compact, until_answered
from harness.registrations import delete_node, joined, put_node
from robustness.chaos.cluster.links import Link

PATIENCE_S = 20.0
NEVER_S = 3_600.0
"""Of a reconciliation that must not be what repairs."""


@asynccontextmanager
async def running(membership: Membership) -> AsyncIterator[None]:
    task = asyncio.create_task(membership.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task


async def until(membership: Membership, holds: Callable[[MembershipSnapshot], bool]) -> MembershipSnapshot:
    """The first snapshot from now on of which this holds."""
    snapshot = membership.current
    try:
        async with asyncio.timeout(PATIENCE_S):
            while snapshot is None or not holds(snapshot):
                snapshot = await membership.next(snapshot)
    except TimeoutError:
        raise AssertionError(f"still {membership.current}") from None
    return snapshot


def has(*names: str) -> Callable[[MembershipSnapshot], bool]:
    return lambda snapshot: set(snapshot.nodes) == set(names)


def watched(etcd: EtcdClient, keys: Keys, **more: Any) -> Membership:
    return Membership(etcd, keys, BootClock(), **({"reconcile_s": NEVER_S} | more))


class SilentWatch(EtcdClient):
    """Its watches never say anything: every event is lost."""

    async def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        await asyncio.Event().wait()
        yield WatchBatch(from_revision, (), ())


class Interrupted(EtcdClient):
    """Lets something happen between the reading of the membership and the watch that follows it."""

    def __init__(self, url: str) -> None:
        super().__init__([url])
        self.before_watch: list[Callable[[], Any]] = []
        self.ranges = 0

    async def range(self, prefix: str) -> RangeResult:
        self.ranges += 1
        return await super().range(prefix)

    async def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        if self.before_watch:
            await self.before_watch.pop(0)()
        async for batch in super().watch(prefix, from_revision):
            yield batch


async def test_there_is_no_snapshot_before_the_first(etcd: EtcdClient, keys: Keys) -> None:
    membership = watched(etcd, keys)
    assert membership.current is None
    waiting = asyncio.create_task(membership.next(None))
    async with running(membership):
        async with asyncio.timeout(PATIENCE_S):
            first = await waiting
        assert dict(first.nodes) == {}
        assert membership.current is first


async def test_the_first_snapshot_holds_whoever_is_registered(etcd: EtcdClient, keys: Keys) -> None:
    n1, n2 = await joined(etcd, keys, "n1"), await joined(etcd, keys, "n2")
    await n2.set_draining()
    membership = watched(etcd, keys)
    async with running(membership):
        first = await until(membership, lambda _: True)
    assert {name: (node.incarnation, node.active) for name, node in first.nodes.items()} == {
        "n1": (n1.incarnation, True),
        "n2": (n2.incarnation, False),
    }
    assert first.revision > n2.incarnation


async def test_joining_draining_and_leaving_are_seen_by_the_watch(etcd: EtcdClient, keys: Keys) -> None:
    membership = watched(etcd, keys)
    async with running(membership):
        await until(membership, has())
        n1 = await joined(etcd, keys, "n1")
        snapshot = await until(membership, has("n1"))
        assert snapshot.revision == int(n1.incarnation)
        n2 = await joined(etcd, keys, "n2")
        await until(membership, has("n1", "n2"))
        await n1.set_draining()
        snapshot = await until(membership, lambda now: not now.nodes[NodeId("n1")].active)
        assert snapshot.nodes[NodeId("n1")].incarnation == n1.incarnation
        await n1.lease.revoke()
        await until(membership, has("n2"))
        await n2.lease.revoke()
        await until(membership, has())


async def test_other_keys_of_the_cluster_and_other_clusters_are_no_news(etcd: EtcdClient, keys: Keys) -> None:
    membership = watched(etcd, keys)
    async with running(membership):
        first = await until(membership, has())
        await etcd.txn([], [Put(keys.meta, b"?", 0)])
        await put_node(etcd, Keys(keys.cluster + "2"), "n1")
        await put_node(etcd, keys, "n2")
        async with asyncio.timeout(PATIENCE_S):
            assert has("n2")(await membership.next(first))


async def test_next_returns_what_is_other_than_what_is_known(etcd: EtcdClient, keys: Keys) -> None:
    membership = watched(etcd, keys)
    async with running(membership), asyncio.timeout(PATIENCE_S):
        first = await membership.next(None)
        assert await membership.next(None) is first
        waiting = [asyncio.create_task(membership.next(first)) for _ in range(3)]
        await put_node(etcd, keys, "n1")
        second, *others = await asyncio.gather(*waiting)
        assert second is not first
        assert others == [second, second]
        assert await membership.next(first) is second


async def test_a_snapshot_never_changes(etcd: EtcdClient, keys: Keys) -> None:
    membership = watched(etcd, keys)
    async with running(membership):
        await put_node(etcd, keys, "n1")
        held = await until(membership, has("n1"))
        before = dict(held.nodes)
        await put_node(etcd, keys, "n2")
        await delete_node(etcd, keys, "n1")
        await until(membership, has("n2"))
        assert dict(held.nodes) == before
        nodes: Any = held.nodes
        with pytest.raises(TypeError):
            nodes[NodeId("n3")] = None


async def test_revisions_grow_with_every_snapshot(etcd: EtcdClient, keys: Keys) -> None:
    """Also while the watch and the reconciling Range take turns."""
    membership = watched(etcd, keys, reconcile_s=0.05)
    revisions: list[int] = []

    async def collect() -> None:
        snapshot = None
        while True:
            snapshot = await membership.next(snapshot)
            revisions.append(snapshot.revision)

    async with running(membership):
        collecting = asyncio.create_task(collect())
        for i in range(20):
            await put_node(etcd, keys, f"n{i}")
            await put_node(etcd, keys, "always")
            await delete_node(etcd, keys, f"n{i - 1}")
            await until(membership, has(f"n{i}", "always"))
        collecting.cancel()
        await asyncio.wait([collecting])
    assert len(revisions) >= 20
    assert revisions == sorted(set(revisions))


async def test_many_nodes_that_go_at_one_revision_go_in_one_snapshot(etcd: EtcdClient, keys: Keys) -> None:
    lease_id, _ = await etcd.grant(60)
    for i in range(20):
        await put_node(etcd, keys, f"n{i}", lease_id=lease_id)
    await put_node(etcd, keys, "stays")
    membership = watched(etcd, keys)
    async with running(membership):
        full = await until(membership, lambda now: len(now.nodes) == 21)
        await etcd.revoke(lease_id)
        async with asyncio.timeout(PATIENCE_S):
            assert has("stays")(await membership.next(full))


async def test_a_node_that_leaves_and_comes_again_is_another_incarnation(etcd: EtcdClient, keys: Keys) -> None:
    await put_node(etcd, keys, "n1")
    membership = watched(etcd, keys)
    async with running(membership):
        first = await until(membership, has("n1"))
        before = first.nodes[NodeId("n1")].incarnation
        await delete_node(etcd, keys, "n1")
        await put_node(etcd, keys, "n1")
        await until(membership, lambda now: has("n1")(now) and now.nodes[NodeId("n1")].incarnation > before)


async def test_an_unreadable_record_is_no_node(etcd: EtcdClient, keys: Keys) -> None:
    """Whether the watch brings it or the Range."""
    garbage = [Put(keys.node(NodeId("n1")), b"?", 0)]
    await put_node(etcd, keys, "n1")
    await put_node(etcd, keys, "n2")
    by_watch = watched(etcd, keys)
    async with running(by_watch):
        await until(by_watch, has("n1", "n2"))
        await etcd.txn([], garbage)
        await until(by_watch, has("n2"))
        by_range = watched(etcd, keys)
        async with running(by_range):
            await until(by_range, has("n2"))
        await put_node(etcd, keys, "n1")
        await until(by_watch, has("n1", "n2"))


async def test_reconciling_repairs_what_the_watch_lost(etcd_url: str, keys: Keys) -> None:
    async with SilentWatch([etcd_url]) as etcd:
        membership = watched(etcd, keys, reconcile_s=0.1)
        async with running(membership):
            await until(membership, has())
            await put_node(etcd, keys, "n1")
            await put_node(etcd, keys, "n2")
            await until(membership, has("n1", "n2"))
            await delete_node(etcd, keys, "n1")
            await until(membership, has("n2"))


async def test_without_changes_reconciling_is_no_news(etcd_url: str, keys: Keys) -> None:
    async with Interrupted(etcd_url) as etcd:
        membership = watched(etcd, keys, reconcile_s=0.05)
        again = asyncio.Event()

        async def third_time() -> None:
            again.set()

        async def nothing() -> None:
            pass

        etcd.before_watch = [nothing, nothing, third_time]
        async with running(membership):
            first = await until(membership, has())
            async with asyncio.timeout(PATIENCE_S):
                await again.wait()
            assert membership.current is first
            assert etcd.ranges >= 3


async def test_what_happens_between_reading_and_watching_is_seen(etcd_url: str, keys: Keys) -> None:
    async with Interrupted(etcd_url) as etcd:
        etcd.before_watch = [lambda: put_node(etcd, keys, "n1")]
        membership = watched(etcd, keys)
        async with running(membership):
            await until(membership, has("n1"))
        assert etcd.ranges == 1


async def test_more_than_etcd_sends_at_once_between_reading_and_watching_is_seen(etcd_url: str, keys: Keys) -> None:
    """A watch that catches up is sent 1,000 revisions at a time, each time under etcd's newest revision."""

    async def much() -> None:
        for _ in range(11):
            await asyncio.gather(*(put_node(etcd, keys, f"n{i}") for i in range(100)))
        await put_node(etcd, keys, "last")

    async with Interrupted(etcd_url) as etcd:
        etcd.before_watch = [much]
        membership = watched(etcd, keys)
        async with running(membership):
            await until(membership, lambda now: NodeId("last") in now.nodes)
        assert etcd.ranges == 1


async def test_a_compaction_before_the_watch_leads_to_reading_anew(etcd_url: str, keys: Keys) -> None:
    async with Interrupted(etcd_url) as etcd:

        async def change_and_compact() -> None:
            await put_node(etcd, keys, "n1")
            await put_node(etcd, keys, "n2")
            await delete_node(etcd, keys, "n1")
            await compact(etcd_url, (await EtcdClient.range(etcd, keys.root)).revision)

        etcd.before_watch = [change_and_compact]
        membership = watched(etcd, keys)
        async with running(membership):
            await until(membership, has("n2"))
        assert etcd.ranges == 2


async def test_a_watch_that_breaks_is_resumed_after_a_while(etcd_url: str, keys: Keys) -> None:
    """Not at once: an etcd in trouble is not to be asked in a loop. And without reading everything anew."""
    clock = FakeClock()
    async with Interrupted(etcd_url) as etcd:

        async def breaks() -> None:
            raise EtcdUnavailable

        etcd.before_watch = [breaks, breaks]
        membership = Membership(etcd, keys, clock, reconcile_s=NEVER_S)
        async with running(membership):
            await until(membership, has())
            for name in ("n1", "n2"):
                due_s = await clock.next_due_s()
                assert due_s - clock.now_s() == 0.5
                await put_node(etcd, keys, name)
                clock.advance_to(due_s)
            await until(membership, has("n1", "n2"))
            await put_node(etcd, keys, "n3")
            await until(membership, has("n1", "n2", "n3"))
            assert etcd.ranges == 1


async def test_it_outlasts_a_restart_of_etcd(own_etcd: EtcdProcess, keys: Keys) -> None:
    async with EtcdClient([own_etcd.url]) as etcd:
        membership = watched(etcd, keys)
        async with running(membership):
            await put_node(etcd, keys, "n1")
            before = await until(membership, has("n1"))
            await asyncio.to_thread(own_etcd.stop, signal.SIGTERM)
            assert membership.current is before
            await asyncio.to_thread(own_etcd.restart)
            await until_answered(etcd)
            await put_node(etcd, keys, "n2")
            after = await until(membership, has("n1", "n2"))
            assert after.revision > before.revision
            assert after.nodes[NodeId("n1")] == before.nodes[NodeId("n1")]


async def test_it_begins_with_an_etcd_that_is_not_there_yet(own_etcd: EtcdProcess, keys: Keys) -> None:
    await asyncio.to_thread(own_etcd.stop, signal.SIGTERM)
    async with EtcdClient([own_etcd.url]) as etcd:
        membership = watched(etcd, keys)
        async with running(membership):
            with pytest.raises(EtcdUnavailable):
                await etcd.get(keys.meta)
            assert membership.current is None
            await asyncio.to_thread(own_etcd.restart)
            await until(membership, has())


async def test_a_compaction_while_the_watch_is_stalled_is_made_good_within_two_seconds(
    etcd_url: str, keys: Keys
) -> None:
    """What was missed is gone from etcd's history: it can only be read anew."""
    link = Link(etcd_url.removeprefix("http://"))
    await link.start("127.0.0.1")
    try:
        async with EtcdClient([f"http://{link.address}"]) as stalled, EtcdClient([etcd_url]) as etcd:
            membership = watched(stalled, keys)
            async with running(membership):
                await put_node(etcd, keys, "n1")
                await until(membership, has("n1"))
                link.cut()
                await put_node(etcd, keys, "n2")
                await delete_node(etcd, keys, "n1")
                await put_node(etcd, keys, "n3")
                await compact(etcd_url, (await etcd.range(keys.root)).revision)
                await asyncio.sleep(WATCH_SILENCE_S + 0.5)  # so that the watch is given up
                mended_s = asyncio.get_running_loop().time()
                link.mend()
                await until(membership, has("n2", "n3"))
                took_s = asyncio.get_running_loop().time() - mended_s
        assert took_s < 2.0, took_s
    finally:
        await link.stop()


async def test_a_watch_that_is_silent_is_asked_and_stays(etcd_url: str, keys: Keys) -> None:
    """Nothing happens in the cluster for longer than a watch may be silent: etcd says so itself."""
    async with Interrupted(etcd_url) as etcd:
        etcd._watch_silence_s = 0.1
        membership = watched(etcd, keys)
        async with running(membership):
            first = await until(membership, has())
            await asyncio.sleep(0.5)
            assert etcd.ranges == 1
            await put_node(etcd, keys, "n1")
            async with asyncio.timeout(PATIENCE_S):
                assert has("n1")(await membership.next(first))
        assert etcd.ranges == 1


async def test_a_hundred_nodes_join_and_every_router_sees_each_within_a_second(etcd_url: str, keys: Keys) -> None:
    """Three routers, each with a connection of its own; from the registration to the snapshot."""
    async with AsyncExitStack() as stack:
        etcds = [await stack.enter_async_context(EtcdClient([etcd_url])) for _ in range(4)]
        routers = [watched(etcd, keys) for etcd in etcds[1:]]
        for router in routers:
            await stack.enter_async_context(running(router))
            await until(router, has())
        loop = asyncio.get_running_loop()
        slowest_s = 0.0
        for number in range(100):
            node_id = NodeId(f"n{number}")
            await put_node(etcds[0], keys, node_id)
            joined_s = loop.time()
            for router in routers:
                await until(router, lambda now, node_id=node_id: node_id in now.nodes)  # type: ignore[misc]
            slowest_s = max(slowest_s, loop.time() - joined_s)
        assert slowest_s < 1.0, slowest_s
        assert all(len(router.current.nodes) == 100 for router in routers if router.current is not None)


async def test_a_broken_history_that_another_call_found_closes_a_quiet_watch(etcd_url: str, keys: Keys) -> None:
    async with EtcdClient([etcd_url], watch_silence_s=0.2) as etcd, EtcdClient([etcd_url]) as operator:
        membership = watched(etcd, keys)
        await membership.history.begin()
        async with running(membership):
            await put_node(operator, keys, "n1")
            before = await until(membership, has("n1"))
            etcd.distrust()
            assert membership.current is None
            async with asyncio.timeout(PATIENCE_S):
                await membership.closed.wait()
            await delete_node(operator, keys, "n1")
            await begin_new_generation(operator, keys)
            async with asyncio.timeout(PATIENCE_S):
                assert has()(await membership.next(before))
            assert not membership.closed.is_set()
