"""Whose a claim is, as its record in etcd says: for the claims themselves, and for LocateSession.

Guarantees: what is returned names a node and one of its incarnations, which may be over; every other value, whatever
its bytes, is an UnreadableClaim. Does not say whether the owner still lives: orphaned_claims.py.
"""

from dataclasses import dataclass, field

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.etcd.types import KeyValue
from agentring.cluster.keys import Keys
from agentring.cluster.records import UnreadableRecord, decode_claim
from agentring.errors import CoordinatorUnavailable
from agentring.ids import Epoch, Incarnation, NodeId, Revision, SessionRef, TaskRef

GENERATION_BITS = 40


def epoch_of(generation: int, revision: Revision) -> Epoch:
    """The epoch of a claim: grows with etcd's revision, and beyond it when the cluster's etcd data begin a new life."""
    return Epoch((generation << GENERATION_BITS) + revision)


@dataclass(frozen=True, slots=True)
class Owner:
    """A claim as somebody else reads it."""

    node_id: NodeId
    address: str
    incarnation: Incarnation
    epoch: Epoch
    claimed_s: int = field(compare=False, default=0)
    """Wall clock, for people; 0: not known."""
    leased: bool = field(compare=False, default=True)
    """Its record ends with a lease, as every one does that a node writes."""


@dataclass(frozen=True, slots=True)
class UnreadableClaim:
    """A record that names nobody, by somebody else's hand."""

    size_bytes: int
    leased: bool


def owner_of(held: KeyValue, generation: int) -> Owner | UnreadableClaim:
    """Whose the record is."""
    try:
        record = decode_claim(held.value)
    except UnreadableRecord:
        return UnreadableClaim(len(held.value), held.lease_id != 0)
    return Owner(
        NodeId(record.node_id),
        record.address,
        Incarnation(record.incarnation),
        epoch_of(generation, held.mod_revision),
        record.claim_time.ToSeconds(),
        held.lease_id != 0,
    )


async def read_owner(
    etcd: EtcdClient, keys: Keys, generation: int, ref: SessionRef | TaskRef
) -> Owner | UnreadableClaim | None:
    """Who holds a key now; None: nobody. Raises CoordinatorUnavailable."""
    try:
        held = await etcd.get(keys.claim(ref))
    except EtcdError:
        raise CoordinatorUnavailable from None
    return owner_of(held, generation) if held is not None else None
