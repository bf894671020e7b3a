"""Registrations of made-up nodes in a real etcd."""

from agentring.cluster.clock import BootClock, Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Delete, Put
from agentring.cluster.keys import Keys
from agentring.cluster.records import encode
from agentring.cluster.registration import NodeIdentity, Registration, join
from agentring.cluster.store_record import StoreIdentity
from agentring.ids import NodeId
from agentring.v1 import cluster_pb2

TTL_S = 60
"""Long enough for any test, so that none of its leases needs to be kept."""


def identity(
    name: str, *, boot_id: str = "boot", data_uuid: str = "", store_uuid: str = "", store_file: str = ""
) -> NodeIdentity:
    """A node whose address and data directory are called after it."""
    return NodeIdentity(
        node_id=NodeId(name),
        address=f"{name}:1",
        agents=frozenset({"echo"}),
        weight=1,
        labels={},
        boot_id=boot_id,
        data_uuid=data_uuid or f"data-of-{name}",
        store=StoreIdentity(store_uuid, store_file),
    )


async def joined(
    etcd: EtcdClient,
    keys: Keys,
    who: NodeIdentity | str,
    *,
    clock: Clock | None = None,
    ttl_s: int = TTL_S,
    timeout_s: float = 0.0,
) -> Registration:
    """A registration of a node; of one with just this name where no more is said of it."""
    node = identity(who) if isinstance(who, str) else who
    return await join(etcd, keys, clock or BootClock(), node, ttl_s=ttl_s, timeout_s=timeout_s)


async def put_node(etcd: EtcdClient, keys: Keys, name: str, *, lease_id: int = 0) -> None:
    """Writes a node's record without any of a registration's care."""
    record = cluster_pb2.NodeRecord(v=1, node_id=name, address=f"{name}:1", state=cluster_pb2.NODE_STATE_ACTIVE)
    await etcd.txn([], [Put(keys.node(NodeId(name)), encode(record), lease_id)])


async def delete_node(etcd: EtcdClient, keys: Keys, name: str) -> None:
    """Takes a node's record away, as an operator might; its lease stays."""
    await etcd.txn([], [Delete(keys.node(NodeId(name)))])
