"""One node id, one registration: joining, waiting for a predecessor, replacing it, and leaving the ring."""

import asyncio

import pytest

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdUnavailable
from agentring.cluster.etcd.types import Put
from agentring.cluster.history import ensure_meta
from agentring.cluster.keys import Keys
from agentring.cluster.lease import FenceReason
from agentring.cluster.records import decode_meta, decode_node, encode
from agentring.cluster.registration import NodeIdentity, NodeIdTaken, Registration
from agentring.cluster.snapshot import MembershipSnapshot, Node
from agentring.errors import NodeFenced
from agentring.ids import NodeId
from agentring.v1 import cluster_pb2
from harness.clock import FakeClock
from harness.etcd_faults import LossyEtcd
from harness.memberships import snapshot
from harness.registrations import TTL_S, delete_node, identity, joined, put_node

PATIENCE_S = 20.0
N1 = NodeId("n1")
OTHERS = [identity("n1", data_uuid="other"), identity("n1", boot_id="other")]
"""Who cannot prove to be the successor of `identity("n1")`."""


async def registered(etcd: EtcdClient, keys: Keys, name: str = "n1") -> Node:
    held = await etcd.get(keys.node(NodeId(name)))
    assert held is not None
    return Node.from_key_value(held)


async def is_alive(etcd: EtcdClient, lease_id: int) -> bool:
    return await etcd.keep_alive(lease_id, timeout_s=2) > 0


async def snapshot_of(etcd: EtcdClient, keys: Keys) -> MembershipSnapshot:
    found = await etcd.range(keys.nodes)
    return snapshot(*(Node.from_key_value(kv) for kv in found.kvs), revision=found.revision)


async def test_a_node_that_joins_is_registered_under_its_lease(etcd: EtcdClient, keys: Keys) -> None:
    me = identity("n1")
    registration = await joined(etcd, keys, me)
    held = await etcd.get(registration.key)
    assert held is not None
    assert held.key == keys.node(N1)
    assert held.lease_id == registration.lease.lease_id
    assert (int(held.create_revision), int(held.mod_revision)) == (registration.incarnation, registration.incarnation)
    assert decode_node(held.value) == cluster_pb2.NodeRecord(
        v=1,
        node_id="n1",
        address="n1:1",
        agents=["echo"],
        weight=1,
        state=cluster_pb2.NODE_STATE_ACTIVE,
        lease_id=held.lease_id,
        boot_id=me.boot_id,
        data_uuid=me.data_uuid,
        protocol_min=1,
        protocol_max=1,
    )
    assert registration.generation == 1
    registration.lease.check()


async def test_a_node_whose_lease_ends_is_no_longer_registered(etcd: EtcdClient, keys: Keys) -> None:
    registration = await joined(etcd, keys, "n1")
    await registration.lease.revoke()
    assert await etcd.get(registration.key) is None


async def test_a_later_registration_is_another_incarnation(etcd: EtcdClient, keys: Keys) -> None:
    first = await joined(etcd, keys, "n1")
    await first.lease.revoke()
    second = await joined(etcd, keys, "n1")
    assert second.incarnation > first.incarnation


@pytest.mark.parametrize("other", OTHERS)
async def test_a_second_node_of_the_same_name_waits_and_then_gives_up(
    etcd_url: str, etcd: EtcdClient, keys: Keys, other: NodeIdentity
) -> None:
    first = await joined(etcd, keys, "n1")
    clock = FakeClock()
    async with LossyEtcd(etcd_url) as others:
        second = asyncio.create_task(joined(others, keys, other, clock=clock, timeout_s=5))
        for _ in range(3):
            await clock.next_due_s()
            assert not second.done()
            clock.advance(1)
        await clock.next_due_s()
        clock.advance(2)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(NodeIdTaken, match="'n1' is taken by a live node at n1:1"):
                await second
        assert others.granted == []
    assert (await registered(etcd, keys)).incarnation == first.incarnation
    assert await is_alive(etcd, first.lease.lease_id)


async def test_a_second_node_of_the_same_name_joins_once_the_first_is_gone(etcd: EtcdClient, keys: Keys) -> None:
    first = await joined(etcd, keys, "n1")
    clock = FakeClock()
    waiting = asyncio.create_task(joined(etcd, keys, identity("n1", data_uuid="other"), clock=clock, timeout_s=1_000))
    await clock.next_due_s()
    await first.lease.revoke()
    clock.advance(1)
    async with asyncio.timeout(PATIENCE_S):
        second = await waiting
    assert second.incarnation > first.incarnation
    assert (await registered(etcd, keys)).incarnation == second.incarnation


@pytest.mark.parametrize("other", OTHERS)
async def test_without_time_to_wait_a_taken_name_is_refused_at_once(
    etcd: EtcdClient, keys: Keys, other: NodeIdentity
) -> None:
    await joined(etcd, keys, "n1")
    with pytest.raises(NodeIdTaken):
        await joined(etcd, keys, other, timeout_s=0)


async def test_a_restarted_node_ends_its_predecessors_lease_without_waiting(etcd: EtcdClient, keys: Keys) -> None:
    """Same boot of the machine, same data directory: the predecessor is the same node's and cannot live."""
    clock = FakeClock()
    first = await joined(etcd, keys, identity("n1"), clock=clock)
    second = await joined(etcd, keys, identity("n1"), clock=clock, timeout_s=1)
    assert clock.now_s() == FakeClock().now_s()
    assert not await is_alive(etcd, first.lease.lease_id)
    assert second.incarnation > first.incarnation
    assert (await registered(etcd, keys)).incarnation == second.incarnation


async def test_nodes_of_different_names_do_not_wait_for_each_other(etcd: EtcdClient, keys: Keys) -> None:
    both = await asyncio.gather(joined(etcd, keys, "n1"), joined(etcd, keys, "n2"))
    assert both[0].incarnation != both[1].incarnation
    assert {kv.key for kv in (await etcd.range(keys.nodes)).kvs} == {each.key for each in both}


async def test_of_many_that_join_under_one_name_one_is_registered(etcd: EtcdClient, keys: Keys) -> None:
    tries = [joined(etcd, keys, identity("n1", data_uuid=f"data{i}")) for i in range(10)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    (winner,) = [each for each in results if isinstance(each, Registration)]
    assert [type(each) for each in results if each is not winner] == [NodeIdTaken] * 9
    assert (await registered(etcd, keys)).incarnation == winner.incarnation


async def test_a_join_whose_reply_is_lost_leaves_nothing_behind(etcd_url: str, keys: Keys) -> None:
    async with LossyEtcd(etcd_url) as etcd:
        etcd.lose_reply(skip=1)  # the first transaction reads the cluster's meta
        with pytest.raises(EtcdUnavailable):
            await joined(etcd, keys, "n1")
        assert await etcd.get(keys.node(N1)) is None
        assert not await is_alive(etcd, etcd.granted[-1])


async def test_a_join_that_is_cancelled_leaves_nothing_behind(etcd_url: str, keys: Keys) -> None:
    async with LossyEtcd(etcd_url) as etcd:
        etcd.hold_reply(skip=1)
        joining = asyncio.create_task(joined(etcd, keys, "n1"))
        async with asyncio.timeout(PATIENCE_S):
            await etcd.held.wait()
        assert await etcd.get(keys.node(N1)) is not None
        joining.cancel()
        await asyncio.wait([joining], timeout=PATIENCE_S)
        assert joining.cancelled()
        assert await etcd.get(keys.node(N1)) is None


# Draining


async def test_a_draining_node_keeps_its_incarnation_and_its_lease(etcd: EtcdClient, keys: Keys) -> None:
    registration = await joined(etcd, keys, "n1")
    before = await registered(etcd, keys)
    await registration.set_draining()
    after = await registered(etcd, keys)
    assert before.active
    assert not after.active
    assert after.incarnation == before.incarnation == registration.incarnation
    await registration.lease.revoke()
    assert await etcd.get(registration.key) is None


async def test_a_fenced_node_does_not_drain(etcd: EtcdClient, keys: Keys) -> None:
    clock = FakeClock()
    registration = await joined(etcd, keys, "n1", clock=clock)
    clock.advance(TTL_S)
    with pytest.raises(NodeFenced):
        await registration.set_draining()
    assert (await registered(etcd, keys)).active


async def test_draining_without_a_key_fences(etcd: EtcdClient, keys: Keys) -> None:
    registration = await joined(etcd, keys, "n1")
    await delete_node(etcd, keys, "n1")
    with pytest.raises(NodeFenced):
        await registration.set_draining()
    assert registration.lease.reason is FenceReason.KEY_GONE
    assert await etcd.get(registration.key) is None


async def test_draining_does_not_touch_a_successors_key(etcd: EtcdClient, keys: Keys) -> None:
    registration = await joined(etcd, keys, "n1")
    await delete_node(etcd, keys, "n1")
    successor = await joined(etcd, keys, "n1")
    with pytest.raises(NodeFenced):
        await registration.set_draining()
    found = await registered(etcd, keys)
    assert (found.active, found.incarnation) == (True, successor.incarnation)


# The node's own key in a snapshot


async def test_a_snapshot_that_holds_the_registration_changes_nothing(etcd: EtcdClient, keys: Keys) -> None:
    registration = await joined(etcd, keys, "n1")
    registration.compare_with(await snapshot_of(etcd, keys))
    await registration.set_draining()
    registration.compare_with(await snapshot_of(etcd, keys))
    registration.lease.check()


async def test_a_snapshot_from_before_the_registration_changes_nothing(etcd: EtcdClient, keys: Keys) -> None:
    await put_node(etcd, keys, "n2")
    before = await snapshot_of(etcd, keys)
    registration = await joined(etcd, keys, "n1")
    registration.compare_with(before)
    registration.compare_with(snapshot(revision=registration.incarnation - 1))
    registration.lease.check()


async def test_a_snapshot_without_the_registration_fences(etcd: EtcdClient, keys: Keys) -> None:
    registration = await joined(etcd, keys, "n1")
    await delete_node(etcd, keys, "n1")
    registration.compare_with(await snapshot_of(etcd, keys))
    assert registration.lease.reason is FenceReason.KEY_GONE


async def test_a_snapshot_with_another_incarnation_fences(etcd: EtcdClient, keys: Keys) -> None:
    registration = await joined(etcd, keys, "n1")
    await delete_node(etcd, keys, "n1")
    await put_node(etcd, keys, "n1")
    registration.compare_with(await snapshot_of(etcd, keys))
    assert registration.lease.reason is FenceReason.KEY_GONE


# The cluster's meta record


async def test_the_first_who_comes_makes_the_clusters_meta_and_all_others_read_it(etcd: EtcdClient, keys: Keys) -> None:
    first, *others = await asyncio.gather(*(ensure_meta(etcd, keys) for _ in range(10)))
    assert others == [first] * 9
    assert first.generation == 1
    assert first.cluster_uuid
    held = await etcd.get(keys.meta)
    assert held is not None
    assert (decode_meta(held.value), held.lease_id) == (first, 0)


async def test_two_clusters_have_different_names(etcd: EtcdClient, keys: Keys) -> None:
    one, other = await ensure_meta(etcd, keys), await ensure_meta(etcd, Keys(keys.cluster + "-other"))
    assert one.cluster_uuid != other.cluster_uuid


async def test_a_registration_knows_the_clusters_generation(etcd: EtcdClient, keys: Keys) -> None:
    await etcd.txn([], [Put(keys.meta, encode(cluster_pb2.ClusterMeta(v=1, generation=3, cluster_uuid="u")), 0)])
    assert (await joined(etcd, keys, "n1")).generation == 3
