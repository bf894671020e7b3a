"""All nodes of a cluster keep what they own in one store; one that has another is refused while others are there."""

import asyncio

import pytest

from agentring.cluster.clock import BootClock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Put
from agentring.cluster.keys import Keys
from agentring.cluster.new_generation import NodesRegistered
from agentring.cluster.records import decode_store
from agentring.cluster.registration import Registration
from agentring.cluster.store_record import (
    StoreDiffers,
    StoreNotAccepted,
    change_record,
    find_record,
    forget,
)
from agentring.v1.cluster_pb2 import StoreRecord
from harness.clock import FakeClock
from harness.registrations import identity, joined, put_node


async def kept_in(etcd: EtcdClient, keys: Keys) -> str:
    """The cluster's store."""
    record = await etcd.get(keys.store)
    assert record is not None
    return decode_store(record.value).store_uuid


async def test_nodes_of_one_store_join(etcd: EtcdClient, keys: Keys) -> None:
    for name in ("a", "b", "c"):
        await joined(etcd, keys, identity(name, store_uuid="one"))
    assert await kept_in(etcd, keys) == "one"


async def test_a_node_with_another_store_is_refused_and_leaves_nothing_behind(etcd: EtcdClient, keys: Keys) -> None:
    await joined(etcd, keys, identity("a", store_uuid="one"))
    with pytest.raises(StoreDiffers, match="in the store one, and this one's is other"):
        await joined(etcd, keys, identity("b", store_uuid="other"))
    assert [kv.key for kv in (await etcd.range(keys.nodes)).kvs] == [f"{keys.nodes}a"]
    assert await kept_in(etcd, keys) == "one"


@pytest.mark.parametrize(("theirs", "mine"), [(("memory", ""), ("other", "1:2")), (("other", "1:1"), ("other", "1:2"))])
async def test_it_waits_for_the_others_to_leave(
    etcd: EtcdClient, keys: Keys, theirs: tuple[str, str], mine: tuple[str, str]
) -> None:
    """Where all nodes were stopped, and some of their leases still run out: what was kept in memory is gone anyway, and
    a file may be moved."""
    first = await joined(etcd, keys, identity("a", store_uuid=theirs[0], store_file=theirs[1]))
    with pytest.raises(StoreDiffers):
        await joined(etcd, keys, identity("b", store_uuid=mine[0], store_file=mine[1]))
    clock = FakeClock()
    there = identity("b", store_uuid=mine[0], store_file=mine[1])
    joining = asyncio.create_task(joined(etcd, keys, there, clock=clock, timeout_s=60.0))
    await clock.next_due_s()
    assert not joining.done()
    await first.lease.revoke()
    clock.advance(1.0)
    async with asyncio.timeout(5):
        await joining
    assert await kept_in(etcd, keys) == "other"


async def test_of_two_stores_that_come_at_once_one_stays_outside(etcd: EtcdClient, keys: Keys) -> None:
    for turn in range(10):
        there = Keys(f"{keys.cluster}-{turn}")
        nodes = [identity(f"n{number}", store_uuid="even" if number % 2 == 0 else "odd") for number in range(6)]
        found = await asyncio.gather(
            *(joined(etcd, there, node, clock=BootClock()) for node in nodes), return_exceptions=True
        )
        stores = {each.identity.store.uuid for each in found if isinstance(each, Registration)}
        assert stores == {await kept_in(etcd, there)}
        assert all(isinstance(each, Registration | StoreDiffers) for each in found)


async def test_nodes_that_do_not_say_are_joined(etcd: EtcdClient, keys: Keys) -> None:
    """Those of an earlier release, while nodes are updated one by one."""
    await put_node(etcd, keys, "earlier")
    await joined(etcd, keys, identity("later", store_uuid="one"))
    assert await kept_in(etcd, keys) == "one"


async def test_a_record_that_cannot_be_read_is_no_store(etcd: EtcdClient, keys: Keys) -> None:
    await etcd.txn([], [Put(keys.store, b"{}", 0)])
    await joined(etcd, keys, identity("a", store_uuid="one"))
    assert await kept_in(etcd, keys) == "one"


@pytest.mark.parametrize("mine", ["other", "memory"])
async def test_another_store_is_refused_after_all_have_left_until_an_operator_says_so(
    etcd: EtcdClient, keys: Keys, mine: str
) -> None:
    first = await joined(etcd, keys, identity("a", store_uuid="one"))
    with pytest.raises(NodesRegistered):
        await forget(etcd, keys)
    await first.lease.revoke()
    with pytest.raises(StoreNotAccepted, match=f"in the store one, and this one's is {mine}.*forget-store"):
        await joined(etcd, keys, identity("b", store_uuid=mine))
    forgotten = await forget(etcd, keys)
    assert forgotten is not None
    assert forgotten.store_uuid == "one"
    await joined(etcd, keys, identity("b", store_uuid=mine))
    assert await kept_in(etcd, keys) == mine


async def test_a_store_that_was_found_replaced_is_nobodys_until_an_operator_says_so(
    etcd: EtcdClient, keys: Keys
) -> None:
    first = await joined(etcd, keys, identity("a", store_uuid="one", store_file="1:1"))

    def replaced(record: StoreRecord) -> bool:
        record.replaced = True
        return True

    await change_record(etcd, keys, "other", replaced)
    await joined(etcd, keys, identity("b", store_uuid="one", store_file="1:1"))
    await change_record(etcd, keys, "one", replaced)
    for file in ("1:1", "1:2"):
        with pytest.raises(StoreNotAccepted, match="replaced"):
            await joined(etcd, keys, identity("c", store_uuid="one", store_file=file))
    await first.lease.revoke()


async def test_changes_of_the_record_at_once_are_all_made(etcd: EtcdClient, keys: Keys) -> None:
    await joined(etcd, keys, identity("a", store_uuid="one"))

    def raised(record: StoreRecord) -> bool:
        record.clock_ns += 1
        return True

    await asyncio.gather(*(change_record(etcd, keys, "one", raised) for _ in range(4)))
    record, _ = await find_record(etcd, keys)
    assert record is not None
    assert (record.store_uuid, record.clock_ns) == ("one", 4)
