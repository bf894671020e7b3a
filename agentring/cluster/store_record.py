"""etcd's record of the cluster's store: which one the nodes keep sessions and tasks in, and how far it had come.

Guarantees: nodes that are registered at the same time have the same store, and on one machine the same file of it;
once the cluster has kept anything in a store, no other one takes its place, nor an older copy, nor what stands where
nodes have found theirs replaced, before an operator says so (`forget`). Whoever finds the database in use replaced
writes that down here, so that a node that starts with what is there now learns of it.

What nodes write down later, how far the store's clock is and that it was replaced, stands in `store` itself, or, where
`agentring admin init` has made it, in a record beside it, `store-mark`: so etcd's access control can keep `store` from
the nodes. Both count, and a join compares both.

The races it prevents: two first nodes with different stores (the join's transaction compares the record), and a node
that starts on a copy while those that have the first file open have not looked yet (the file's name is compared, too).
Used by `join`, by the node's guard of its store, and by `agentring admin forget-store`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Compare, Delete, KeyValue, Put
from agentring.cluster.keys import Keys
from agentring.cluster.new_generation import NodesRegistered
from agentring.cluster.records import RECORD_VERSION, UnreadableRecord, decode_store, encode
from agentring.ids import Revision
from agentring.v1 import cluster_pb2

MEMORY = "memory"
"""What all stores are called that a node keeps in memory: one that has kept nothing."""
_TRIES = 8
"""Of a change of the record, which other nodes change too."""


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """A node's store."""

    uuid: str = ""
    """Its own; MEMORY; empty: the node keeps nothing."""
    file: str = ""
    """The file's device and inode; empty: there is none."""


NO_STORE = StoreIdentity()


class StoreDiffers(Exception):
    """The cluster's nodes keep their sessions in another store than this one."""

    def __init__(self, theirs: str, mine: str) -> None:
        """The stores' uuids; equal: it is another file that bears its name."""
        which = (
            f"in the store {theirs}, and this one's is {mine}"
            if theirs != mine
            else f"in another file of the store {theirs} than the one that this node finds there"
        )
        super().__init__(
            f"the cluster's nodes keep sessions {which}: give all of them the same --store, or stop all of them before "
            "they are given another one"
        )


class StoreNotAccepted(Exception):
    """The store lacks what the cluster has acknowledged."""

    def __init__(self, why: str) -> None:
        """why: what was found, as a clause."""
        super().__init__(
            f"{why}: what was acknowledged may be missing. Bring the cluster's store back, or stop all nodes and "
            "accept what is there with `agentring admin forget-store`"
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """Both records, at one revision."""

    record: cluster_pb2.StoreRecord | None
    """The store's, and of its marks the highest; None: there is none that can be read."""
    revision: Revision
    """Of `store`; 0: there is none at all."""
    mark_revision: Revision
    """Of `store-mark`, likewise."""

    def unchanged(self, keys: Keys) -> list[Compare]:
        return [Compare(keys.store, "mod", self.revision), Compare(keys.store_mark, "mod", self.mark_revision)]


async def _find(etcd: EtcdClient, keys: Keys) -> _Found:
    kvs = {kv.key: kv for kv in (await etcd.range(keys.store)).kvs}
    record, revision = _decoded(kvs.get(keys.store))
    mark, mark_revision = _decoded(kvs.get(keys.store_mark))
    if record is not None and mark is not None and mark.store_uuid == record.store_uuid:
        record.clock_ns = max(record.clock_ns, mark.clock_ns)
        if mark_revision > revision:  # an earlier release's nodes know `store` alone
            record.replaced = mark.replaced
    return _Found(record, revision, mark_revision)


async def find_record(etcd: EtcdClient, keys: Keys) -> tuple[cluster_pb2.StoreRecord | None, Revision]:
    """The record, None where there is none that can be read, and its revision, 0 where there is none at all. Raises
    EtcdError."""
    found = await _find(etcd, keys)
    return found.record, found.revision


class StoreNotPrepared(Exception):
    """etcd's access control keeps the store's record from nodes, and it does not name this node's store."""

    def __init__(self) -> None:
        super().__init__(
            "etcd's record of the cluster's store does not name this one, and this node's user may not change it: run "
            "`agentring admin init` with the nodes' --store"
        )


async def join_conditions(
    etcd: EtcdClient, keys: Keys, mine: StoreIdentity
) -> tuple[list[Compare], list[Put], cluster_pb2.StoreRecord | None]:
    """What a join's transaction compares and writes besides, and whose it is where that need not hold. Raises
    StoreDiffers, StoreNotAccepted, EtcdError."""
    if not mine.uuid:
        return [], [], None
    found = await _find(etcd, keys)
    record, unchanged = found.record, found.unchanged(keys)
    fresh = cluster_pb2.StoreRecord(v=RECORD_VERSION, store_uuid=mine.uuid, file=mine.file)
    if record is None:
        return unchanged, [Put(keys.store, encode(fresh), 0)], None  # an earlier release's nodes may be there
    alone = Compare(keys.nodes, "create", 0, prefix=True)
    if record.store_uuid != mine.uuid:
        if record.store_uuid != MEMORY:
            if (await etcd.range(keys.nodes)).kvs:
                raise StoreDiffers(record.store_uuid, mine.uuid)
            raise StoreNotAccepted(
                f"the cluster has kept its sessions in the store {record.store_uuid}, and this one's is {mine.uuid}"
            )
        return [*unchanged, alone], [Put(keys.store, encode(fresh), 0)], record
    if record.replaced:
        raise StoreNotAccepted("nodes have found the store replaced or removed while they had it open")
    if record.file == mine.file:
        return unchanged, [], None
    relocated = cluster_pb2.StoreRecord()
    relocated.CopyFrom(record)
    relocated.file = mine.file
    elsewhere = [alone] if record.file else []  # an earlier release's nodes do not say which file
    return [*unchanged, *elsewhere], [Put(keys.store, encode(relocated), 0)], record if elsewhere else None


async def change_record(
    etcd: EtcdClient, keys: Keys, uuid: str, change: Callable[[cluster_pb2.StoreRecord], bool]
) -> None:
    """Changes the record if it is of this store. change: False: it is right as it is. Raises EtcdError."""
    for _ in range(_TRIES):
        found = await _find(etcd, keys)
        record = found.record
        if record is None or record.store_uuid != uuid or not change(record):
            return
        key = keys.store_mark if found.mark_revision else keys.store
        result = await etcd.txn(found.unchanged(keys), [Put(key, encode(record), 0)])
        if result.succeeded:
            return


async def prepare(etcd: EtcdClient, keys: Keys, mine: StoreIdentity | None) -> bool:
    """Writes `store` and `store-mark` for nodes that may not write the first; False: they are there. mine: what the
    nodes will bring; None: what stands in `store`, else MEMORY. Raises StoreDiffers, NodesRegistered where those that
    are there may have another file, EtcdError.
    """
    named = mine
    while True:
        found = await _find(etcd, keys)
        before = found.record or cluster_pb2.StoreRecord(v=RECORD_VERSION)
        mine = named or StoreIdentity(before.store_uuid or MEMORY, before.file)
        if before.store_uuid not in ("", MEMORY, mine.uuid):
            raise StoreDiffers(before.store_uuid, mine.uuid)
        record = cluster_pb2.StoreRecord(v=RECORD_VERSION, store_uuid=mine.uuid, file=mine.file)
        if before.store_uuid == mine.uuid:
            record.clock_ns, record.replaced = before.clock_ns, before.replaced
        compares, puts = found.unchanged(keys), []
        if record != before:
            puts.append(Put(keys.store, encode(record), 0))
            if found.record is not None:
                compares.append(Compare(keys.nodes, "create", 0, prefix=True))
        if not found.mark_revision:
            puts.append(Put(keys.store_mark, encode(record), 0))
        if not puts:
            return False
        if (await etcd.txn(compares, puts)).succeeded:
            return True
        if len(compares) > len(found.unchanged(keys)):
            await _refuse_nodes(etcd, keys)


async def forget(etcd: EtcdClient, keys: Keys) -> cluster_pb2.StoreRecord | None:
    """Lets the next node that joins bring any store; what is forgotten. Raises NodesRegistered, EtcdError."""
    empty = encode(cluster_pb2.StoreRecord(v=RECORD_VERSION))
    while True:
        found = await _find(etcd, keys)
        nobody = Compare(keys.nodes, "create", 0, prefix=True)
        # The mark's place stays: nodes that may not write `store` find by it where to write.
        marks = [Put(keys.store_mark, empty, 0)] if found.mark_revision else []
        result = await etcd.txn([nobody, *found.unchanged(keys)], [Delete(keys.store), *marks])
        if result.succeeded:
            return found.record
        await _refuse_nodes(etcd, keys)


async def _refuse_nodes(etcd: EtcdClient, keys: Keys) -> None:
    if nodes := (await etcd.range(keys.nodes)).kvs:
        raise NodesRegistered(tuple(keys.node_id_of(kv.key) for kv in nodes))


def _decoded(kv: KeyValue | None) -> tuple[cluster_pb2.StoreRecord | None, Revision]:
    if kv is None:
        return None, Revision(0)
    try:
        return decode_store(kv.value), kv.mod_revision
    except UnreadableRecord:
        return None, kv.mod_revision
