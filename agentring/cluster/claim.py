"""Claims: the records in etcd that make one node the owner of a session or a task key.

Guarantees: at most one incarnation holds a key at any revision; `claim` returns only if this incarnation was registered
at the very revision at which the record was written; every claim has an epoch of its own, higher than all before. Does
not guarantee that the claim still stands when the caller reads the result: the epoch fences.

The races it prevents. (1) A claim whose reply was lost has landed: a record that already names this incarnation is
never adopted but put again, so a release that belongs to the earlier epoch cannot delete the later one. (2) The lease
ran out between the caller's fence check and the transaction: the transaction compares the node key's create-revision
as well. (3) A claim or release whose outcome nobody knows (no answer, or nobody waited for it) lands after all and
leaves a record without an actor: such keys are remembered, and `sweep` gives up those that nothing uses, if they are as
they were when it looked. No other key is ever swept.

Concurrent claims, and concurrent releases, travel in groups (group_commit.py). Called by the node's host and by its
task runs.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdNoSpace
from agentring.cluster.etcd.types import Compare, Delete, Get, KeyValue, Put, Txn, TxnResult
from agentring.cluster.group_commit import MAX_GROUP, GroupCommit
from agentring.cluster.keys import Keys
from agentring.cluster.lease import FenceReason
from agentring.cluster.orphaned_claims import OrphanedClaims
from agentring.cluster.owners import Owner, epoch_of, owner_of, read_owner
from agentring.cluster.records import RECORD_VERSION, encode
from agentring.cluster.registration import Registration
from agentring.errors import ClaimUnreadable, CoordinatorUnavailable, NodeFenced, SessionMoving
from agentring.ids import Epoch, Revision, SessionRef, TaskRef
from agentring.v1 import cluster_pb2

MAX_UNSURE = 10_000
_SWEEPS = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that this node's incarnation holds."""

    ref: SessionRef | TaskRef
    epoch: Epoch
    revision: Revision


class Claims:
    """Claims and releases on behalf of one incarnation."""

    def __init__(
        self,
        etcd: EtcdClient,
        keys: Keys,
        registration: Registration,
        tasks: asyncio.TaskGroup,
        *,
        timeout_s: float = 2.0,
        max_group: int = MAX_GROUP,
        orphaned: OrphanedClaims | None = None,
    ) -> None:
        """registration: whose claims these are; tasks: owns what is sent; timeout_s: of one transaction; max_group: how
        many claims or releases it has at most; orphaned: decides what becomes of others' claims."""
        self._orphaned = orphaned or OrphanedClaims(etcd, keys)
        self._etcd = etcd
        self._claiming = GroupCommit(etcd, tasks, timeout_s=timeout_s, max_group=max_group)
        self._releasing = GroupCommit(etcd, tasks, timeout_s=timeout_s, max_group=max_group)
        self._busy: dict[SessionRef | TaskRef, int] = {}
        """Keys that are being claimed or released, and how many times."""
        self._unsure: dict[SessionRef | TaskRef, int] = {}
        """Keys that may have a record of ours which nobody uses, the oldest first; and how many sweeps ended with
        none. What is on its way for longer than it takes to sweep twice has failed."""
        self._keys = keys
        self._registration = registration
        self._registered = Compare(registration.key, "create", registration.incarnation)
        self._value = b""
        self._value_of_s = 0

    async def claim(self, ref: SessionRef | TaskRef) -> Claim:
        """Makes this node the owner.

        Raises NotOwner if another node holds it, SessionMoving or ClaimUnreadable if nobody does who is registered and
        it may not be taken yet, NodeFenced if this incarnation is over, CoordinatorUnavailable if etcd does not answer:
        the claim may then have landed, and the next one puts it again. Cancellation: as CoordinatorUnavailable.
        """
        self._registration.lease.check()
        key = self._keys.claim(ref)
        unclaimed: tuple[Compare, ...] = (Compare(key, "create", 0),)
        held: KeyValue | None = None
        # Twice at most loses to nobody: a record of our own incarnation is changed only by ourselves.
        for _ in range(2):
            put = Put(key, self._record(), self._registration.lease.lease_id)
            try:
                result = await self._commit(
                    ref, self._claiming, key, Txn((*unclaimed, self._registered), (put,), (Get(key),))
                )
            except EtcdNoSpace:
                await self.raise_if_held_elsewhere(ref)  # etcd still reads
                raise CoordinatorUnavailable from None
            except EtcdError:
                raise CoordinatorUnavailable from None
            if result.succeeded:
                if held is not None and not self._is_ours(held):
                    self._orphaned.was_taken(held, self._registration)
                return Claim(ref, epoch_of(self._registration.generation, result.revision), result.revision)
            seen = held.mod_revision if held is not None else 0
            (held,) = result.gets
            if (held.mod_revision if held is not None else 0) == seen:
                if len(unclaimed) > 1:
                    break  # the node that the record names has registered, or left, between our two transactions
                # The key is as it was compared with, so it is the node's own that is not.
                self._registration.lease.fence(FenceReason.KEY_GONE)
                raise NodeFenced
            if held is None:
                break  # deleted between our two transactions
            # Invariant: every claim has an epoch of its own; a record of ours is put again, never adopted
            # (tests/integration/cluster/test_claim.py).
            unclaimed = (Compare(key, "mod", held.mod_revision), *await self._clear(held))
        raise SessionMoving

    @property
    def under_way(self) -> int:
        """How many keys are being claimed or released."""
        return len(self._busy)

    async def release(self, claim: Claim) -> bool:
        """Gives the key up; False: it was no longer this claim's. Raises CoordinatorUnavailable: the key is given up
        later. Cancellation: likewise."""
        return await self._delete(claim.ref, claim.revision)

    async def sweep(self, in_use: Callable[[SessionRef | TaskRef], bool]) -> int:
        """Gives up the keys whose claim or release may have landed unnoticed and that nothing uses; how many records
        there were. in_use: whether a key has an actor or a run. Raises CoordinatorUnavailable; the rest is left to the
        next sweep."""
        found = 0
        for ref in list(self._unsure):
            if ref in self._busy or in_use(ref):
                continue  # whoever uses it has put the record again, and will release it
            held = await self._read(ref)
            if held is not None and self._is_ours(held) and not (ref in self._busy or in_use(ref)):
                found += await self._delete(ref, held.mod_revision)
            if ref not in self._unsure:
                continue  # others have taken its place meanwhile
            self._unsure[ref] += 1
            if self._unsure[ref] == _SWEEPS:
                del self._unsure[ref]
        return found

    async def owner(self, ref: SessionRef | TaskRef) -> Owner | None:
        """Who holds the key now. Raises ClaimUnreadable, CoordinatorUnavailable."""
        owner = await read_owner(self._etcd, self._keys, self._registration.generation, ref)
        if owner is None or isinstance(owner, Owner):
            return owner
        raise ClaimUnreadable

    async def raise_if_held_elsewhere(self, ref: SessionRef | TaskRef) -> None:
        """Raises NotOwner if another node holds the key, SessionMoving or ClaimUnreadable where `claim` would,
        CoordinatorUnavailable. For what never claims: getters."""
        if (held := await self._read(ref)) is not None:
            await self._clear(held)

    async def disclaim(self, ref: SessionRef | TaskRef, in_use: Callable[[SessionRef | TaskRef], bool]) -> None:
        """As raise_if_held_elsewhere, before a key that this node does not use is refused: a record of its own, left
        by a claim that landed unnoticed, would lead everyone back here, and is given up. in_use: as for `sweep`; asked
        once the record is read, since another caller may have had the key activated meanwhile."""
        if (held := await self._read(ref)) is None:
            return
        await self._clear(held)
        if self._is_ours(held) and not (ref in self._busy or in_use(ref)):
            await self._delete(ref, held.mod_revision)

    async def _read(self, ref: SessionRef | TaskRef) -> KeyValue | None:
        try:
            return await self._etcd.get(self._keys.claim(ref))
        except EtcdError:
            raise CoordinatorUnavailable from None

    async def _delete(self, ref: SessionRef | TaskRef, revision: Revision) -> bool:
        key = self._keys.claim(ref)
        txn = Txn((Compare(key, "mod", revision),), (Delete(key),))
        try:
            return (await self._commit(ref, self._releasing, key, txn, gives_up=True)).succeeded
        except EtcdError:
            raise CoordinatorUnavailable from None

    def _record(self) -> bytes:
        """The value of a claim that is made now."""
        now_s = int(time.time())
        if now_s != self._value_of_s:
            identity = self._registration.identity
            record = cluster_pb2.ClaimRecord(
                v=RECORD_VERSION,
                node_id=identity.node_id,
                address=identity.address,
                incarnation=self._registration.incarnation,
            )
            record.claim_time.FromSeconds(now_s)
            self._value, self._value_of_s = encode(record), now_s
        return self._value

    async def _commit(
        self, ref: SessionRef | TaskRef, line: GroupCommit, key: str, txn: Txn, *, gives_up: bool = False
    ) -> TxnResult:
        """Sends a claim or release of a key; what ends without an answer is remembered, and so is a release that
        certainly did not happen (gives_up): nobody uses its key any more. Raises EtcdError."""
        self._busy[ref] = self._busy.get(ref, 0) + 1
        try:
            return await line.commit(key, txn)
        except EtcdError as error:
            if error.outcome_unknown or gives_up:
                self._remember(ref)
            raise
        except asyncio.CancelledError:
            self._remember(ref)
            raise
        finally:
            if (left := self._busy[ref] - 1) > 0:
                self._busy[ref] = left
            else:
                del self._busy[ref]

    def _remember(self, ref: SessionRef | TaskRef) -> None:
        self._unsure[ref] = 0
        if len(self._unsure) > MAX_UNSURE:  # that one's record ends with the lease, or with this node's next claim
            del self._unsure[next(iter(self._unsure))]

    def _is_ours(self, held: KeyValue) -> bool:
        owner = owner_of(held, self._registration.generation)
        mine = self._registration.identity.node_id, self._registration.incarnation
        return isinstance(owner, Owner) and (owner.node_id, owner.incarnation) == mine

    async def _clear(self, held: KeyValue) -> tuple[Compare, ...]:
        """Under which compares besides the record's the key may be this node's. Raises as OrphanedClaims.clear."""
        return () if self._is_ours(held) else await self._orphaned.clear(held, self._registration)
