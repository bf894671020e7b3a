"""Orphaned claims, which nobody will give up: records that name no registered incarnation, or that cannot be read.

A node writes a claim under its own lease, so with the node's key all its claims go at one revision, and a record that
is there names somebody who is registered. Where somebody else wrote it (an operator with etcdctl, a restored backup,
another program) that need not be so, and without a lease such a record would block its key for ever.

Guarantees: a claim whose node is registered under the incarnation that it names is that node's, whatever else is odd
about it: the node that is asked knows whether it has the session, and puts the record again if not. One whose node's
key has another create-revision, or none, is left behind; the transaction that takes it compares that key too, so
nobody is robbed who registers at this moment. One that cannot be read names nobody, and the record's own revision is
all that is compared: who may still have the session is stopped by the store, which compares epochs.

What holds where: with a store that fences, a record without a lease is taken at once, and one on a lease after it has
stood unchanged for a TTL (its owner may be about to notice that it has lost its key). A volatile store fences nobody:
there a record whose owner is gone is taken after a TTL if it has no lease, and any other one never. A caller that
must wait gets SESSION_MOVING or CLAIM_UNREADABLE. Called by Claims.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable

import structlog

from agentring.cluster.clock import BootClock, Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.etcd.types import Compare, KeyValue
from agentring.cluster.keys import Keys
from agentring.cluster.owners import Owner, owner_of
from agentring.cluster.records import UnreadableRecord, decode_node
from agentring.cluster.registration import Registration
from agentring.cluster.snapshot import Node
from agentring.errors import ClaimUnreadable, CoordinatorUnavailable, NotOwner, SessionMoving
from agentring.ids import Incarnation, NodeId, Revision

_MOST_SEEN = 10_000

_log = structlog.get_logger()


class OrphanedClaims:
    """Decides what becomes of other incarnations' claims, for one node."""

    def __init__(
        self,
        etcd: EtcdClient,
        keys: Keys,
        clock: Clock | None = None,
        *,
        registered: Callable[[NodeId], Node | None] = lambda _: None,
        store_fences: bool = True,
    ) -> None:
        """registered: a node as the membership has it, which spares a question where it is the one that a record names;
        store_fences: whether the store refuses the writes of an epoch that is not the latest."""
        self._etcd = etcd
        self._keys = keys
        self._clock = clock or BootClock()
        self._registered = registered
        self._store_fences = store_fences
        self._seen: OrderedDict[str, tuple[Revision, float]] = OrderedDict()
        """Since when a key has been seen with such a record."""
        self.found: Counter[str] = Counter()
        """How many were seen, by why: `owner_gone`, `unreadable`."""
        self.taken: Counter[str] = Counter()
        """Likewise, how many were taken."""

    async def clear(self, held: KeyValue, registration: Registration) -> tuple[Compare, ...]:
        """Under which compares, besides of the record itself, a claim that is not registration's may be taken.

        Raises NotOwner where its owner is registered, with where that one serves; SessionMoving or ClaimUnreadable
        where it may not be taken yet; CoordinatorUnavailable.
        """
        owner = owner_of(held, registration.generation)
        if not isinstance(owner, Owner):
            if not self._may_be_taken(held, registration, "unreadable"):
                raise ClaimUnreadable
            return ()
        node = self._registered(owner.node_id)
        if node is not None and node.incarnation == owner.incarnation:
            raise NotOwner(owner.node_id, node.address, owner.epoch)
        key = self._keys.node(owner.node_id)
        try:
            found = await self._etcd.get(key)
        except EtcdError:
            raise CoordinatorUnavailable from None
        now = Incarnation(found.create_revision if found is not None else 0)
        if found is not None and now == owner.incarnation:
            raise NotOwner(owner.node_id, _address(found) or owner.address, owner.epoch)
        if not self._may_be_taken(held, registration, "owner_gone"):
            raise SessionMoving
        return (Compare(key, "create", now),)

    def was_taken(self, held: KeyValue, registration: Registration) -> None:
        """The record was replaced by registration's own claim."""
        why = "owner_gone" if isinstance(owner_of(held, registration.generation), Owner) else "unreadable"
        self._seen.pop(held.key, None)
        self.taken[why] += 1
        _log.warning("claim_taken_over", key=held.key, why=why)

    def _may_be_taken(self, held: KeyValue, registration: Registration, why: str) -> bool:
        since_s = self._seen_since_s(held, why)
        at_once = self._store_fences and not held.lease_id
        ever = self._store_fences or (why == "owner_gone" and not held.lease_id)
        return at_once or (ever and self._clock.now_s() - since_s >= registration.lease.ttl_s)

    def _seen_since_s(self, held: KeyValue, why: str) -> float:
        before = self._seen.get(held.key)
        if before is not None and before[0] == held.mod_revision:
            return before[1]
        now_s = self._clock.now_s()
        self._seen[held.key] = (held.mod_revision, now_s)
        self._seen.move_to_end(held.key)
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        self.found[why] += 1
        _log.error("claim_left_behind", key=held.key, why=why, size_bytes=len(held.value), leased=held.lease_id != 0)
        return now_s


def _address(node: KeyValue) -> str:
    """Where a registered node serves; empty: its own record does not say."""
    try:
        return decode_node(node.value).address
    except UnreadableRecord:
        return ""
