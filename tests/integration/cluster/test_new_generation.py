"""A new generation, on a real etcd: when it is refused, and that no node can slip under it."""

import asyncio

import pytest

from agentring.cluster.clock import BootClock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdHistoryBroken
from agentring.cluster.etcd.types import Put
from agentring.cluster.history import ClusterHistory, ensure_meta
from agentring.cluster.keys import Keys
from agentring.cluster.new_generation import GenerationUnknown, NodesRegistered, RecordChanged, begin_new_generation
from agentring.cluster.records import decode_meta, encode
from agentring.cluster.registration import join
from agentring.v1 import cluster_pb2
from harness.registrations import identity, joined, put_node


async def recorded(etcd: EtcdClient, keys: Keys) -> cluster_pb2.ClusterMeta:
    found = await etcd.get(keys.meta)
    assert found is not None
    return decode_meta(found.value)


async def test_it_is_one_higher_and_the_cluster_keeps_its_name(etcd: EtcdClient, keys: Keys) -> None:
    before = await ensure_meta(etcd, keys)
    received = await begin_new_generation(etcd, keys)
    assert (received.generation, received.cluster_uuid) == (before.generation + 1, before.cluster_uuid)
    assert await recorded(etcd, keys) == received
    assert (await begin_new_generation(etcd, keys)).generation == before.generation + 2


async def test_it_is_above_what_the_operator_knows(etcd: EtcdClient, keys: Keys) -> None:
    await ensure_meta(etcd, keys)
    assert (await begin_new_generation(etcd, keys, above=7)).generation == 8
    assert (await begin_new_generation(etcd, keys, above=3)).generation == 9


async def test_without_a_record_the_operator_must_know(etcd: EtcdClient, keys: Keys) -> None:
    with pytest.raises(GenerationUnknown):
        await begin_new_generation(etcd, keys)
    assert await etcd.get(keys.meta) is None
    received = await begin_new_generation(etcd, keys, above=1, cluster_uuid="as-it-was")
    assert (received.generation, received.cluster_uuid) == (2, "as-it-was")


async def test_it_is_refused_while_a_node_is_registered(etcd: EtcdClient, keys: Keys) -> None:
    registration = await joined(etcd, keys, "n1")
    before = await recorded(etcd, keys)
    with pytest.raises(NodesRegistered) as refused:
        await begin_new_generation(etcd, keys)
    assert refused.value.node_ids == ("n1",)
    assert await recorded(etcd, keys) == before
    await registration.lease.revoke()
    assert (await begin_new_generation(etcd, keys)).generation == before.generation + 1


async def test_another_clusters_nodes_are_in_nobodys_way(etcd: EtcdClient, keys: Keys) -> None:
    await ensure_meta(etcd, keys)
    await put_node(etcd, Keys(keys.cluster + "2"), "n1")
    await begin_new_generation(etcd, keys)


async def test_of_two_at_the_same_moment_one_is_told_that_it_was_late(etcd: EtcdClient, keys: Keys) -> None:
    await ensure_meta(etcd, keys)
    received = await asyncio.gather(*(begin_new_generation(etcd, keys) for _ in range(2)), return_exceptions=True)
    raised = [each.generation for each in received if isinstance(each, cluster_pb2.ClusterMeta)]
    late = [each for each in received if isinstance(each, RecordChanged)]
    assert len(raised) + len(late) == 2
    assert sorted(raised) == [2, 3][: len(raised)]
    assert (await recorded(etcd, keys)).generation == 1 + len(raised)


async def test_a_join_that_has_read_the_old_record_registers_under_the_new_one(etcd: EtcdClient, keys: Keys) -> None:
    """The operator comes between the join's look at the record and its transaction."""

    class Overtaken(ClusterHistory):
        times = 0

        async def begin(self) -> None:
            await super().begin()
            if not self.times:
                self.times += 1
                await begin_new_generation(etcd, keys)

    history = Overtaken(etcd, keys)
    registration = await join(etcd, keys, BootClock(), identity("n1"), ttl_s=60, timeout_s=5, history=history)
    assert registration.generation == 2
    assert (await recorded(etcd, keys)).generation == 2


async def test_a_process_that_had_closed_itself_goes_on(etcd: EtcdClient, etcd_url: str, keys: Keys) -> None:
    history = ClusterHistory(etcd, keys)
    await history.begin()
    stranger = cluster_pb2.ClusterMeta(v=1, generation=1, cluster_uuid="another")
    await etcd.txn([], [Put(keys.meta, encode(stranger), 0)])
    with pytest.raises(EtcdHistoryBroken):
        await history.check()
    async with EtcdClient([etcd_url]) as operator:
        await begin_new_generation(operator, keys)
    await history.check()
    assert (history.generation, history.cluster_uuid) == (2, "another")
    assert await etcd.get(keys.meta) is not None
