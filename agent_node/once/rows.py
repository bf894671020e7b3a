"""The rows of `ctx.once`, written under the claims of their keys.

Guarantees: a row is changed only by the owner of its key's claim, under the claim's epoch, and while the lease stands;
a claim whose row could not be changed is given back. An ending whose write may not have landed is written again for a
while: it changes nothing the second time. Used by OnceKeys (keys.py).
"""

import asyncio

import structlog

from agent_node.audit import AuditLog, Transition
from agent_node.ownership.release import release
from agent_node.store.once_records import Change, Ending, OnceOwnership, StoredRun
from agent_node.store.once_store import OnceStore
from agentring.cluster.claim import Claim, Claims
from agentring.cluster.clock import Clock
from agentring.cluster.lease import Lease
from agentring.errors import StoreUnavailable
from agentring.ids import OnceRef
from agentring.v1.task_pb2 import (
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_PENDING,
    TASK_STATE_UNKNOWN,
    TaskState,
)

_KEEP_TRYING_S = 30.0
_RETRY_S = 0.2

_AUDITED: dict[TaskState.ValueType, Transition] = {
    TASK_STATE_COMPLETED: "once_committed",
    TASK_STATE_FAILED: "once_failed",
    TASK_STATE_UNKNOWN: "once_unknown",
    TASK_STATE_PENDING: "once_put_back",
}

_log = structlog.get_logger()


class OnceRows:
    """What one incarnation of the node writes, to the store and to the audit log."""

    def __init__(
        self, lease: Lease, audit: AuditLog, claims: Claims, store: OnceStore, clock: Clock, owner: str
    ) -> None:
        """owner: names the incarnation, as `node_id/incarnation`."""
        self._store = store
        self._lease = lease
        self._audit = audit
        self._claims = claims
        self._clock = clock
        self._owner = owner

    def ownership(self, claim: Claim) -> OnceOwnership:
        """What the store compares with the writes under a claim."""
        assert isinstance(claim.ref, OnceRef)
        return OnceOwnership(claim.ref, claim.epoch, self._owner)

    async def claim(self, ref: OnceRef) -> Claim:
        """Makes the key this node's. Raises NotOwner, SessionMoving, NodeFenced, CoordinatorUnavailable."""
        claim = await self._claims.claim(ref)
        self._audit.write("claimed", ref, epoch=claim.epoch)
        return claim

    async def change(self, claim: Claim, change: Change) -> StoredRun:
        """Raises the row's epoch and changes it; where that fails, gives the claim back. Raises what `change` does,
        NodeFenced, StaleEpoch, StoreUnavailable."""
        try:
            self._lease.check()  # before the store is written to, however long the claim took
            stored = await self._store.change(self.ownership(claim), change)
            self._lease.check()
            return stored
        except Exception:
            await self.release(claim)
            raise

    async def end(self, claim: Claim, ending: Ending, keep_s: float | None) -> None:
        """Stores how the run of this claim ended, before it is returned; tries for 30 s. keep_s: as OnceStore.end.
        Raises NodeFenced, StaleEpoch, StoreUnavailable."""
        deadline_s = self._clock.now_s() + _KEEP_TRYING_S
        while True:
            self._lease.check()
            try:
                await self._store.end(self.ownership(claim), ending, keep_s)
                break
            except StoreUnavailable:
                if self._clock.now_s() >= deadline_s:
                    raise
            await asyncio.sleep(_RETRY_S)
        self._lease.check()  # what follows is returned to callers

    async def release(self, claim: Claim) -> None:
        """Gives the key back, or leaves it to the lease's end."""
        await release(self._claims, self._lease, self._audit, claim)

    def audit_start(self, claim: Claim, attempt: int) -> None:
        """The function is called now."""
        self._audit.write("once_started", claim.ref, epoch=claim.epoch, attempt=attempt)

    def audit_ending(self, claim: Claim, ending: Ending) -> None:
        """The store has it."""
        self._audit.write(_AUDITED[ending.state], claim.ref, epoch=claim.epoch)
        if ending.state == TASK_STATE_UNKNOWN:
            _log.error("once_unknown", epoch=claim.epoch)

    def audit_resolution(self, claim: Claim, stored: StoredRun) -> None:
        """An operator has settled it."""
        self._audit.write("once_resolved", claim.ref, epoch=claim.epoch, state=TaskState.Name(stored.state))
