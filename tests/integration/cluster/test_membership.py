"""Snapshots follow etcd by the watch."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Put
from agentring.cluster.keys import Keys
from agentring.ids import NodeId
from harness.conditions import PATIENCE_S
from harness.registrations import delete_node, joined, put_node
from harness.watched_memberships import has, running, until, watched


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
