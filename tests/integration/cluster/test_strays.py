"""Nodes' keys that no node has written so: whoever lives puts its own right, the others' are taken away, and no name is
lost by them for good."""

import asyncio

import pytest

from agentring.cluster.clock import BootClock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdHistoryBroken
from agentring.cluster.etcd.types import Put
from agentring.cluster.history import ensure_meta
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.new_generation import GenerationUnknown, begin_new_generation
from agentring.cluster.registration import NodeIdTaken, Registration
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.cluster.strays import StraySweep
from agentring.ids import Incarnation, NodeId
from harness.clock import FakeClock
from harness.registrations import TTL_S, identity, joined, put_node

PATIENCE_S = 20.0
N1 = NodeId("n1")
GARBAGE = [b"", b"?", b'{"v": 1, "node_id": "another"}', b"\xff", b"[]"]


async def seen(etcd: EtcdClient, keys: Keys) -> MembershipSnapshot:
    """As a process sees it that begins to watch now."""
    membership = Membership(etcd, keys, BootClock())
    watching = asyncio.create_task(membership.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await membership.next(None)
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def put(etcd: EtcdClient, key: str, value: bytes, lease_id: int = 0) -> None:
    await etcd.txn([], [Put(key, value, lease_id)])


async def is_sound(etcd: EtcdClient, registration: Registration) -> bool:
    held = await etcd.get(registration.key)
    assert held is not None
    assert Incarnation(held.create_revision) == registration.incarnation
    return held.lease_id == registration.lease.lease_id and N1 in (await seen(etcd, Keys(_cluster(held.key)))).nodes


def _cluster(key: str) -> str:
    return key.split("/")[2]


@pytest.mark.parametrize("value", [None, *GARBAGE])
@pytest.mark.parametrize("draining", [False, True])
async def test_a_node_puts_its_own_record_right(
    etcd: EtcdClient, keys: Keys, value: bytes | None, draining: bool
) -> None:
    """None: as it was, without its lease."""
    mine = await joined(etcd, keys, "n1")
    if draining:
        await mine.set_draining()
    held = await etcd.get(mine.key)
    assert held is not None
    assert mine.compare_with(await seen(etcd, keys))
    await put(etcd, mine.key, held.value if value is None else value)
    assert not mine.compare_with(await seen(etcd, keys))
    mine.lease.check()  # it is not fenced
    await mine.put_again()
    assert await is_sound(etcd, mine)
    snapshot = await seen(etcd, keys)
    assert mine.compare_with(snapshot)
    assert not snapshot.strays
    assert snapshot.nodes[N1].active is not draining


@pytest.mark.parametrize("value", [None, *GARBAGE])
async def test_a_key_without_a_lease_that_nobody_puts_right_goes_with_the_second_look(
    etcd: EtcdClient, keys: Keys, value: bytes | None
) -> None:
    if value is None:
        await put_node(etcd, keys, "ghost")
    else:
        await put(etcd, keys.node(NodeId("ghost")), value)
    mine = await joined(etcd, keys, "n1")
    snapshot = await seen(etcd, keys)
    sweep = StraySweep(etcd, keys, FakeClock(), lambda: snapshot, N1, interval_s=TTL_S)
    await sweep.sweep()
    assert await etcd.get(keys.node(NodeId("ghost"))) is not None
    await sweep.sweep()
    assert await etcd.get(keys.node(NodeId("ghost"))) is None
    assert await is_sound(etcd, mine)


async def test_what_is_put_right_between_two_looks_or_ends_with_a_lease_stays(etcd: EtcdClient, keys: Keys) -> None:
    mine, other = await joined(etcd, keys, "n1"), await joined(etcd, keys, "n2")
    await put(etcd, other.key, b"?")
    await put(etcd, keys.node(NodeId("leased")), b"?", mine.lease.lease_id)
    snapshot = await seen(etcd, keys)
    sweep = StraySweep(etcd, keys, FakeClock(), lambda: snapshot, N1, interval_s=TTL_S)
    await sweep.sweep()
    await other.put_again()  # and the membership is behind
    await sweep.sweep()
    other.compare_with(await seen(etcd, keys))
    other.lease.check()
    assert await etcd.get(keys.node(NodeId("leased"))) is not None


async def test_a_key_that_is_no_text_stops_nobody(etcd: EtcdClient, keys: Keys) -> None:
    """Of the client's own accord no key is anything but ASCII, so it is written by its stub."""
    from aetcd import rpc

    await joined(etcd, keys, "n1")
    stub = rpc.KVStub(etcd._endpoints[0]._channel)
    for name in (b"\xff\xfe", b"n1\xff", b""):
        await stub.Put(rpc.PutRequest(key=keys.nodes.encode() + name, value=b"?"), timeout=5)
    snapshot = await seen(etcd, keys)
    assert set(snapshot.nodes) == {N1}
    assert len(snapshot.strays) == 3


async def test_a_predecessors_key_without_a_lease_takes_nobodys_name_for_good(etcd: EtcdClient, keys: Keys) -> None:
    clock = FakeClock()
    await put_node(etcd, keys, "n1")
    with pytest.raises(NodeIdTaken):
        await joined(etcd, keys, "n1")
    waiting = asyncio.create_task(joined(etcd, keys, "n1", clock=clock, timeout_s=10 * TTL_S))
    for _ in range(2 * 4):
        await clock.next_due_s()
        assert not waiting.done()
        clock.advance(TTL_S / 4)
    async with asyncio.timeout(PATIENCE_S):
        assert await is_sound(etcd, await waiting)


async def test_ones_own_predecessors_key_without_a_lease_goes_at_once(etcd: EtcdClient, keys: Keys) -> None:
    earlier = await joined(etcd, keys, identity("n1"))
    held = await etcd.get(earlier.key)
    assert held is not None
    await put(etcd, earlier.key, held.value)
    clock = FakeClock()
    later = await joined(etcd, keys, identity("n1"), clock=clock, timeout_s=1)
    assert later.incarnation > earlier.incarnation
    assert clock.now_s() == FakeClock().now_s()


@pytest.mark.parametrize("value", [b"", b"?", b"{}", b"\xff"])
async def test_a_clusters_record_that_cannot_be_read_says_so_and_has_a_way_out(
    etcd: EtcdClient, keys: Keys, value: bytes
) -> None:
    await put(etcd, keys.meta, value)
    with pytest.raises(EtcdHistoryBroken, match=r"/meta cannot be read; see `agentring admin new-generation`"):
        await ensure_meta(etcd, keys)
    with pytest.raises(GenerationUnknown):
        await begin_new_generation(etcd, keys)
    assert (await begin_new_generation(etcd, keys, above=1)).generation == 2
    assert (await ensure_meta(etcd, keys)).generation == 2
