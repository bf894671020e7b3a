"""A node's membership in the cluster: its lease and its key, together one incarnation.

Guarantees: the key was created by this process in one transaction (so no two processes are ever registered under one
node id), and the key's create-revision, the incarnation, is compared by every claim. A restarted node either waits
until its predecessor's lease has run out or, where it can prove that it *is* the predecessor's successor (same machine
boot, same data directory, whose lock it holds), revokes that lease. Called by the node's app.
"""

import asyncio
from dataclasses import dataclass

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.etcd import EtcdClient
from agentring.cluster.etcd_types import Compare, KeyValue, Put
from agentring.cluster.history import ClusterHistory
from agentring.cluster.keys import Keys
from agentring.cluster.lease import FenceReason, Lease
from agentring.cluster.records import (
    PROTOCOL_VERSION,
    RECORD_VERSION,
    UnreadableRecord,
    decode_node,
    encode,
)
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import Incarnation, NodeId
from agentring.v1 import cluster_pb2

_PREDECESSOR_POLL_S = 0.2

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What a node says of itself, the same in all its incarnations."""

    node_id: NodeId
    address: str
    agents: frozenset[str]
    weight: int
    labels: dict[str, str]
    boot_id: str
    data_uuid: str


class NodeIdTaken(Exception):
    """Another process is registered under this node id and its lease does not run out."""

    def __init__(self, node_id: NodeId, address: str) -> None:
        """address: where the other one serves."""
        super().__init__(f"node id {node_id!r} is taken by a live node at {address}")


class Registration:
    """One incarnation of a node."""

    def __init__(
        self,
        etcd: EtcdClient,
        keys: Keys,
        identity: NodeIdentity,
        lease: Lease,
        incarnation: Incarnation,
        generation: int,
    ) -> None:
        """Made by `join`."""
        self._etcd = etcd
        self._keys = keys
        self.identity = identity
        self.lease = lease
        self.incarnation = incarnation
        self.generation = generation

    @property
    def key(self) -> str:
        """The node's key."""
        return self._keys.node(self.identity.node_id)

    async def set_draining(self) -> None:
        """Leaves the ring; the incarnation stays. Raises EtcdError, NodeFenced."""
        self.lease.check()
        record = _record(self.identity, self.lease, cluster_pb2.NODE_STATE_DRAINING)
        result = await self._etcd.txn(
            [Compare(self.key, "create", self.incarnation)], [Put(self.key, encode(record), self.lease.lease_id)]
        )
        if not result.succeeded:
            self.lease.fence(FenceReason.KEY_GONE)
            self.lease.check()

    def compare_with(self, snapshot: MembershipSnapshot) -> None:
        """Fences the node if a snapshot no older than its registration does not hold it."""
        if snapshot.revision < self.incarnation:
            return
        mine = snapshot.nodes.get(self.identity.node_id)
        if mine is None or mine.incarnation != self.incarnation:
            self.lease.fence(FenceReason.KEY_GONE)


async def join(
    etcd: EtcdClient,
    keys: Keys,
    clock: Clock,
    identity: NodeIdentity,
    *,
    ttl_s: int,
    timeout_s: float,
    history: ClusterHistory | None = None,
) -> Registration:
    """Registers the node. Raises EtcdError, EtcdHistoryBroken among them; NodeIdTaken if a predecessor is still there
    after timeout_s.

    history: that the node's earlier incarnations knew; None: this is the first one.
    Cancellation: the lease may stay behind, with or without the key, until its TTL is over.
    """
    history = history or ClusterHistory(etcd, keys)
    key = keys.node(identity.node_id)
    deadline_s = clock.now_s() + timeout_s
    while True:
        await history.begin()
        if (predecessor := await etcd.get(key)) is not None:
            if clock.now_s() >= deadline_s:
                raise NodeIdTaken(identity.node_id, _address(predecessor))
            await _outlast(etcd, clock, identity, predecessor)
            continue
        lease = await Lease.grant(etcd, clock, ttl_s)
        try:
            record = encode(_record(identity, lease, cluster_pb2.NODE_STATE_ACTIVE))
            result = await etcd.txn(
                # Of the generation that the epochs will carry: an operator may be raising it at this moment.
                [Compare(key, "create", 0), history.unchanged],
                [Put(key, record, lease.lease_id)],
                timeout_s=ttl_s / 2,
            )
        except BaseException:
            # The transaction may have landed. Without its lease it is gone at once, not in a TTL.
            await asyncio.shield(lease.revoke_quietly())
            raise
        if result.succeeded:
            return Registration(etcd, keys, identity, lease, Incarnation(result.revision), history.generation)
        await lease.revoke_quietly()  # somebody came between our look and our transaction


async def _outlast(etcd: EtcdClient, clock: Clock, identity: NodeIdentity, predecessor: KeyValue) -> None:
    if predecessor.lease_id and _proof(predecessor) == (identity.boot_id, identity.data_uuid):
        _log.info("predecessor_lease_revoked", node_id=identity.node_id, lease_id=predecessor.lease_id)
        await etcd.revoke(predecessor.lease_id)
    else:
        _log.info("predecessor_awaited", node_id=identity.node_id, address=_address(predecessor))
        await clock.sleep(_PREDECESSOR_POLL_S)


def _proof(predecessor: KeyValue) -> tuple[str, str] | None:
    try:
        record = decode_node(predecessor.value)
    except UnreadableRecord:
        return None
    return record.boot_id, record.data_uuid


def _address(predecessor: KeyValue) -> str:
    try:
        return decode_node(predecessor.value).address
    except UnreadableRecord:
        return "an unreadable address"


def _record(identity: NodeIdentity, lease: Lease, state: cluster_pb2.NodeState.ValueType) -> cluster_pb2.NodeRecord:
    return cluster_pb2.NodeRecord(
        v=RECORD_VERSION,
        node_id=identity.node_id,
        address=identity.address,
        agents=sorted(identity.agents),
        weight=identity.weight,
        labels=identity.labels,
        state=state,
        lease_id=lease.lease_id,
        boot_id=identity.boot_id,
        data_uuid=identity.data_uuid,
        protocol_min=PROTOCOL_VERSION,
        protocol_max=PROTOCOL_VERSION,
    )
