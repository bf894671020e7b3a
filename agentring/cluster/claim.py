"""Claims: the records in etcd that make one node the owner of a session or a task key.

Guarantees: at most one incarnation holds a key at any revision; `claim` returns only if this incarnation was registered
at the very revision at which the record was written; every claim has an epoch of its own, higher than all before. Does
not guarantee that the claim still stands when the caller reads the result: the epoch fences.

The races it prevents. (1) A claim whose reply was lost has landed: a record that already names this incarnation is
never adopted but put again, so a release that belongs to the earlier epoch cannot delete the later one. (2) The lease
ran out between the caller's fence check and the transaction: the transaction compares the node key's create-revision
as well.

Called by the node's host and by its task runs; `read_owner` also by the router's LocateSession.
"""

from dataclasses import dataclass

from agentring.cluster.etcd import EtcdClient
from agentring.cluster.etcd_errors import EtcdError, EtcdNoSpace
from agentring.cluster.etcd_types import Compare, Delete, Get, KeyValue, Put
from agentring.cluster.keys import Keys
from agentring.cluster.lease import FenceReason
from agentring.cluster.records import RECORD_VERSION, decode_claim, encode
from agentring.cluster.registration import Registration
from agentring.errors import CoordinatorUnavailable, NodeFenced, NotOwner, SessionMoving
from agentring.ids import Epoch, Incarnation, NodeId, Revision, SessionRef, TaskRef
from agentring.v1 import cluster_pb2

GENERATION_BITS = 40


def epoch_of(generation: int, revision: Revision) -> Epoch:
    """The epoch of a claim: grows with etcd's revision, and beyond it when the cluster's etcd data begin a new life."""
    return Epoch((generation << GENERATION_BITS) + revision)


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that this node's incarnation holds."""

    ref: SessionRef | TaskRef
    epoch: Epoch
    revision: Revision


@dataclass(frozen=True, slots=True)
class Owner:
    """A claim as somebody else reads it."""

    node_id: NodeId
    address: str
    incarnation: Incarnation
    epoch: Epoch


class Claims:
    """Claims and releases on behalf of one incarnation."""

    def __init__(self, etcd: EtcdClient, keys: Keys, registration: Registration) -> None:
        """registration: whose claims these are."""
        self._etcd = etcd
        self._keys = keys
        self._registration = registration
        identity = registration.identity
        self._value = encode(
            cluster_pb2.ClaimRecord(
                v=RECORD_VERSION,
                node_id=identity.node_id,
                address=identity.address,
                incarnation=registration.incarnation,
            )
        )

    async def claim(self, ref: SessionRef | TaskRef) -> Claim:
        """Makes this node the owner.

        Raises NotOwner if another node holds it, SessionMoving if an earlier incarnation of this one does, NodeFenced
        if this incarnation is over, CoordinatorUnavailable if etcd does not answer: the claim may then have landed, and
        the next one puts it again. Cancellation: as CoordinatorUnavailable.
        """
        self._registration.lease.check()
        key = self._keys.claim(ref)
        seen = 0
        try:
            # Twice at most loses to nobody: a record of our own incarnation is changed only by ourselves.
            for compare in ("create", "mod"):
                result = await self._etcd.txn(
                    [
                        Compare(key, "create", 0) if compare == "create" else Compare(key, "mod", seen),
                        Compare(self._registration.key, "create", self._registration.incarnation),
                    ],
                    [Put(key, self._value, self._registration.lease.lease_id)],
                    [Get(key), Get(self._registration.key)],
                )
                if result.succeeded:
                    return Claim(ref, epoch_of(self._registration.generation, result.revision), result.revision)
                held, registered = result.gets
                if registered is None or int(registered.create_revision) != self._registration.incarnation:
                    self._registration.lease.fence(FenceReason.KEY_GONE)
                    raise NodeFenced
                if held is None:
                    break  # deleted between our two transactions
                self._raise_if_foreign(held)
                seen = held.mod_revision
        except EtcdNoSpace:
            await self.raise_if_held_elsewhere(ref)  # reads go on, so that another node's sessions are still found
            raise CoordinatorUnavailable from None
        except EtcdError:
            raise CoordinatorUnavailable from None
        raise SessionMoving

    async def release(self, claim: Claim) -> bool:
        """Gives the key up; False: it was no longer this claim's. Raises CoordinatorUnavailable."""
        key = self._keys.claim(claim.ref)
        try:
            result = await self._etcd.txn([Compare(key, "mod", claim.revision)], [Delete(key)])
        except EtcdError:
            raise CoordinatorUnavailable from None
        return result.succeeded

    async def owner(self, ref: SessionRef | TaskRef) -> Owner | None:
        """Who holds the key now. Raises CoordinatorUnavailable."""
        return await read_owner(self._etcd, self._keys, self._registration.generation, ref)

    async def raise_if_held_elsewhere(self, ref: SessionRef | TaskRef) -> None:
        """Raises NotOwner if another node holds the key, SessionMoving if an earlier incarnation of this one does.

        For what never claims (getters) and for what would refuse a new session but must not refuse another node's.
        """
        try:
            held = await self._etcd.get(self._keys.claim(ref))
        except EtcdError:
            raise CoordinatorUnavailable from None
        if held is not None:
            self._raise_if_foreign(held)

    def _raise_if_foreign(self, held: KeyValue) -> None:
        owner = _owner(held, self._registration.generation)
        if owner.node_id != self._registration.identity.node_id:
            raise NotOwner(owner.node_id, owner.address, owner.epoch)
        if owner.incarnation != self._registration.incarnation:
            raise SessionMoving


async def read_owner(etcd: EtcdClient, keys: Keys, generation: int, ref: SessionRef | TaskRef) -> Owner | None:
    """Who holds a key now; None: nobody. Raises CoordinatorUnavailable."""
    try:
        held = await etcd.get(keys.claim(ref))
    except EtcdError:
        raise CoordinatorUnavailable from None
    return _owner(held, generation) if held is not None else None


def _owner(held: KeyValue, generation: int) -> Owner:
    record = decode_claim(held.value)
    return Owner(
        NodeId(record.node_id),
        record.address,
        Incarnation(record.incarnation),
        epoch_of(generation, held.mod_revision),
    )
