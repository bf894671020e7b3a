"""A node's membership in the cluster: its lease and its key, together one incarnation.

Guarantees: the key was created by this process in one transaction (so no two processes are ever registered under one
node id), and the key's create-revision, the incarnation, is compared by every claim. A restarted node either waits
until its predecessor's lease has run out or, where it can prove that it *is* the predecessor's successor (same machine
boot, same data directory, whose lock it holds), revokes that lease. A predecessor's key that has no lease goes too: at
once with that proof, else once it has stood unchanged for two TTLs, since a node that lives puts its record again
(`compare_with`) and one that is cut off from etcd is fenced by then. All nodes of the cluster keep what they own in one
store (store_record.py). Called by the node's app.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdPermissionDenied
from agentring.cluster.etcd.types import Compare, Delete, Get, KeyValue, Put
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
from agentring.cluster.store_record import (
    NO_STORE,
    StoreDiffers,
    StoreIdentity,
    StoreNotPrepared,
    join_conditions,
)
from agentring.errors import NodeFenced
from agentring.ids import Incarnation, NodeId, Revision
from agentring.v1 import cluster_pb2

_PREDECESSOR_POLL_S = 0.2
_LEFT_TTLS = 2

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
    store: StoreIdentity = NO_STORE
    """What it keeps sessions in."""


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
        *,
        drained: bool = False,
    ) -> None:
        """Made by `join`; drained: as there."""
        self._etcd = etcd
        self._keys = keys
        self.identity = identity
        self.lease = lease
        self.incarnation = incarnation
        self.generation = generation
        self._state = cluster_pb2.NODE_STATE_DRAINING if drained else cluster_pb2.NODE_STATE_ACTIVE
        self._drained = drained
        self._written = Revision(incarnation)
        """The record is this process's as of this revision."""
        self.changing = False
        """Whether its state in etcd is being changed, so that nobody knows for a moment what it is."""

    @property
    def key(self) -> str:
        """The node's key."""
        return self._keys.node(self.identity.node_id)

    async def set_draining(self, unless_changed: Sequence[Compare] = ()) -> bool:
        """Leaves the ring; the incarnation stays. False: it does not, since unless_changed does not hold. Raises
        EtcdError, NodeFenced."""
        self.changing = True
        try:
            left = await self._put(cluster_pb2.NODE_STATE_DRAINING, unless_changed)
            if left:
                self._state = cluster_pb2.NODE_STATE_DRAINING
            return left
        finally:
            self.changing = False  # where the outcome is unknown, compare_with finds out

    async def put_again(self) -> None:
        """Writes the node's record anew, under its lease. Raises EtcdError, NodeFenced."""
        await self._put(self._state)

    async def _put(self, state: cluster_pb2.NodeState.ValueType, compares: Sequence[Compare] = ()) -> bool:
        self.lease.check()
        record = _record(self.identity, self.lease, state, drained=self._drained)
        result = await self._etcd.txn(
            [Compare(self.key, "create", self.incarnation), *compares],
            [Put(self.key, encode(record), self.lease.lease_id)],
            [Get(self.key)],
        )
        if result.succeeded:
            self._written = result.revision
            return True
        (mine,) = result.gets
        if mine is not None and Incarnation(mine.create_revision) == self.incarnation:
            return False
        self.lease.fence(FenceReason.KEY_GONE)
        raise NodeFenced

    def compare_with(self, snapshot: MembershipSnapshot) -> bool:
        """Fences the node if a snapshot no older than its record does not hold it. False: its key is there, but
        says another state, or somebody else has written it or taken its lease away: it is to be put again."""
        if snapshot.revision < self._written:
            return True
        mine, stray = snapshot.nodes.get(self.identity.node_id), snapshot.strays.get(self.identity.node_id)
        if stray is not None and stray.incarnation == self.incarnation:
            return False
        if mine is None or mine.incarnation != self.incarnation:
            self.lease.fence(FenceReason.KEY_GONE)
            return True
        return mine.active == (self._state == cluster_pb2.NODE_STATE_ACTIVE)


async def join(
    etcd: EtcdClient,
    keys: Keys,
    clock: Clock,
    identity: NodeIdentity,
    *,
    ttl_s: int,
    timeout_s: float,
    history: ClusterHistory | None = None,
    drained: bool = False,
) -> Registration:
    """Registers the node. Raises EtcdError, EtcdHistoryBroken among them; NodeIdTaken if a predecessor is still there
    after timeout_s, StoreDiffers if nodes with another store are, StoreNotAccepted if there were such,
    StoreNotPrepared.

    history: that the node's earlier incarnations knew; None: this is the first one; drained: it is to stand on no ring
    and owns nothing, but can be seen and reached.
    Cancellation: the lease may stay behind, with or without the key, until its TTL is over.
    """
    history = history or ClusterHistory(etcd, keys)
    key = keys.node(identity.node_id)
    deadline_s = clock.now_s() + timeout_s
    awaited = Revision(0)
    unchanged_s = 0.0
    while True:
        await history.begin()
        if (predecessor := await etcd.get(key)) is not None:
            if predecessor.mod_revision != awaited:
                awaited, unchanged_s = predecessor.mod_revision, clock.now_s()
            left = not predecessor.lease_id and clock.now_s() - unchanged_s >= _LEFT_TTLS * ttl_s
            if clock.now_s() >= deadline_s and not left:
                raise NodeIdTaken(identity.node_id, _address(predecessor))
            await _outlast(etcd, clock, identity, predecessor, left=left)
            continue
        compares, puts, other = await join_conditions(etcd, keys, identity.store)
        lease = await Lease.grant(etcd, clock, ttl_s)
        try:
            # (Earlier releases, which know of no drained nodes, take it for one that drains.)
            state = cluster_pb2.NODE_STATE_DRAINING if drained else cluster_pb2.NODE_STATE_ACTIVE
            record = encode(_record(identity, lease, state, drained=drained))
            # Invariant: no two processes are registered under one node id
            # (tests/integration/cluster/test_registration.py).
            result = await etcd.txn(
                # Of the generation that the epochs will carry: an operator may be raising it at this moment.
                [Compare(key, "create", 0), history.unchanged, *compares],
                [Put(key, record, lease.lease_id), *puts],
                timeout_s=ttl_s / 2,
            )
        except EtcdPermissionDenied:
            await lease.revoke_quietly()
            if puts:
                raise StoreNotPrepared from None
            raise
        except BaseException:
            # The transaction may have landed. Without its lease it is gone at once, not in a TTL.
            await asyncio.shield(lease.revoke_quietly())
            raise
        if result.succeeded:
            incarnation = Incarnation(result.revision)
            return Registration(etcd, keys, identity, lease, incarnation, history.generation, drained=drained)
        await lease.revoke_quietly()  # somebody came between our look and our transaction, or has another store
        if other is not None:  # whose nodes may be there still, with leases that run out
            if clock.now_s() >= deadline_s:
                raise StoreDiffers(other.store_uuid, identity.store.uuid)
            await clock.sleep(_PREDECESSOR_POLL_S)


async def _outlast(
    etcd: EtcdClient, clock: Clock, identity: NodeIdentity, predecessor: KeyValue, *, left: bool
) -> None:
    """left: nobody lives who would put it again."""
    is_ours = _proof(predecessor) == (identity.boot_id, identity.data_uuid)
    if not predecessor.lease_id and (left or is_ours):
        _log.warning("predecessor_without_lease_removed", node_id=identity.node_id)
        await etcd.txn([Compare(predecessor.key, "mod", predecessor.mod_revision)], [Delete(predecessor.key)])
    elif predecessor.lease_id and is_ours:
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


def _record(
    identity: NodeIdentity, lease: Lease, state: cluster_pb2.NodeState.ValueType, *, drained: bool
) -> cluster_pb2.NodeRecord:
    return cluster_pb2.NodeRecord(
        v=RECORD_VERSION,
        node_id=identity.node_id,
        address=identity.address,
        agents=sorted(identity.agents),
        weight=identity.weight,
        labels=identity.labels,
        state=state,
        drained=drained,
        lease_id=lease.lease_id,
        boot_id=identity.boot_id,
        data_uuid=identity.data_uuid,
        protocol_min=PROTOCOL_VERSION,
        protocol_max=PROTOCOL_VERSION,
    )
