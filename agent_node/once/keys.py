"""The keys of `ctx.once` that this incarnation of the node holds: claimed, their runs begun, ended and released.

Guarantees: a run exists only after its key's claim and after its row was written under the claim's epoch; nothing is
written once the lease may be gone; an ending is returned only after the store has it; with a durable store the key
comes free with that, with a volatile one this node keeps it until the ending's retention is over, since nobody else
would know. What was begun here is carried out to its end although the caller goes away.

The races it prevents. (1) Claims and resolutions of one key go one at a time, and one that comes to a run that is here
does nothing. (2) A caller is cancelled while its claim is on its way: the claim is made and given back. (3) Nobody
knows whether the row of a run that was not begun has landed: that row is not taken for a run that was cut off.

Called by Once (steps.py), by the node's services and by its sweeps.
"""

import asyncio
import uuid
from collections.abc import Collection
from functools import partial
from typing import Any

import structlog

from agent_node.audit import AuditLog
from agent_node.once.cycles import check_no_cycle
from agent_node.once.limits import OnceLimits
from agent_node.once.rows import OnceRows
from agent_node.once.run import OnceRun
from agent_node.once.uncertain_starts import UncertainStarts
from agent_node.single_flight import SingleFlight
from agent_node.store.once_records import (
    ENDED,
    ENDED_NODE,
    TURN_ENDED,
    Ending,
    OnceCaller,
    RunStart,
    StoredRun,
    begin,
    check_resolvable,
    end_orphan,
    resolve,
)
from agent_node.store.once_store import OnceStore
from agentring.cluster.claim import Claims
from agentring.cluster.clock import Clock
from agentring.cluster.lease import Lease
from agentring.errors import (
    ClaimUnreadable,
    NodeOverloaded,
    NotOwner,
    RunNotFound,
    RunNotResolvable,
    SessionMoving,
    StoreUnavailable,
)
from agentring.ids import OnceRef, TenantId
from agentring.v1.task_pb2 import (
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
    TASK_STATE_UNKNOWN,
    TaskState,
)

_log = structlog.get_logger()


class OnceKeys:
    """Runs by key."""

    def __init__(
        self,
        lease: Lease,
        audit: AuditLog,
        claims: Claims,
        store: OnceStore,
        clock: Clock,
        owner: str,
        limits: OnceLimits,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """owner: names the incarnation, as `node_id/incarnation`; tasks: owns what must not end half done."""
        self._lease = lease
        self._claims = claims
        self._store = store
        self._clock = clock
        self._rows = OnceRows(lease, audit, claims, store, clock, owner)
        self.limits = limits
        self.runs: dict[OnceRef, OnceRun] = {}
        """Those of the keys that are held."""
        self._changes: SingleFlight[OnceRef, Any] = SingleFlight(tasks)
        self._endings: SingleFlight[OnceRun, None] = SingleFlight(tasks)
        self._not_begun = UncertainStarts()

    def __contains__(self, ref: object) -> bool:
        """Whether this node holds the key, or is about to."""
        return ref in self.runs or (isinstance(ref, OnceRef) and ref in self._changes)

    async def ending(self, ref: OnceRef, *, idempotent: bool) -> Ending | None:
        """How the key's run has ended, as far as that stands, without a claim; None: it may have to be run. Raises
        StoreUnavailable."""
        stored = await self._store.read(ref)
        if stored is not None and stored.stands(self.limits.failure_s, self._store.clock.now(), idempotent=idempotent):
            return stored.ending
        return None

    async def take(
        self, ref: OnceRef, caller: OnceCaller, *, idempotent: bool, in_child: bool = False
    ) -> OnceRun | Ending | None:
        """Claims the key and begins its run, which is the caller's to carry out and to `conclude`; Ending: it has ended
        before, or is UNKNOWN; None: the key is held by another call of this node. in_child: as RunStart.

        Raises NotOwner, SessionMoving, NodeFenced, NodeOverloaded, CoordinatorUnavailable, StoreUnavailable,
        StaleEpoch. Cancellation: the key is given back.
        """
        await self._changes.wait(ref)
        if ref in self.runs:
            return None
        taking: asyncio.Future[OnceRun | Ending] = self._changes.begin(
            ref, partial(self._take, ref, caller, idempotent=idempotent, in_child=in_child)
        )
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._give_back)
            raise

    def started(self, run: OnceRun) -> None:
        """The function is called now. Raises NodeFenced."""
        self._lease.check()
        self._rows.audit_start(run.claim, run.stored.attempt)

    async def conclude(self, run: OnceRun, ending: Ending) -> None:
        """Stores how a run ended, wakes those that wait, and releases the key. PENDING: it was cut off and may be run
        again. Raises NodeFenced, StaleEpoch, StoreUnavailable: nobody has the ending then. Cancellation: it is done
        all the same."""
        await asyncio.shield(self.begin_conclude(run, ending))

    def begin_conclude(self, run: OnceRun, ending: Ending) -> "asyncio.Future[None]":
        """As `conclude`, for a caller that cannot wait."""
        return self._endings.begin(run, partial(self._conclude, run, ending))

    def watch(self, ref: OnceRef, held: Collection[OnceRef]) -> OnceRun:
        """The key's run, for another node that waits for it. Raises RunNotFound, TaskCycle, NodeFenced."""
        self._lease.check()
        if (run := self.runs.get(ref)) is None:
            raise RunNotFound
        check_no_cycle(self.runs, ref, held)
        return run

    async def find(self, ref: OnceRef) -> StoredRun:
        """What is known of a key; never claims. Raises RunNotFound, NotOwner, SessionMoving, StoreUnavailable,
        CoordinatorUnavailable."""
        self._lease.check()
        stored = await self._store.read(ref)
        if stored is None or stored.has_expired(self._store.clock.now()):
            if not self._store.durable:
                await self._claims.raise_if_held_elsewhere(ref)
            raise RunNotFound
        return stored

    async def list_runs(
        self, tenant: TenantId, prefix: str, after_key: str, state: TaskState.ValueType, limit: int
    ) -> list[StoredRun]:
        """As OnceStore."""
        self._lease.check()
        return await self._store.list_runs(tenant, prefix, after_key, state, limit)

    async def resolve(self, ref: OnceRef, result_json: str | None) -> StoredRun:
        """Settles a run that is UNKNOWN or has failed; None: the next call runs it again. Raises RunNotFound,
        RunNotResolvable, NotOwner, SessionMoving, NodeFenced, CoordinatorUnavailable, StoreUnavailable, StaleEpoch.
        Cancellation: it is settled all the same."""
        check_resolvable(await self.find(ref), self._store.clock.now())
        await self._changes.wait(ref)
        if (run := self.runs.get(ref)) is not None and not run.ended.done():
            raise RunNotResolvable(TaskState.Name(TASK_STATE_RUNNING))
        settled: StoredRun = await self._changes.get(ref, partial(self._resolve, ref, result_json))
        return settled

    async def end_orphan(self, ref: OnceRef, caller: OnceCaller) -> None:
        """Ends a run that was cut off and whose caller has ended, unless somebody holds the key. Raises NodeFenced,
        CoordinatorUnavailable, StoreUnavailable, StaleEpoch."""
        if ref in self:
            return
        await self._changes.get(ref, partial(self._end_orphan, ref, caller))

    async def forget_ended(self) -> None:
        """Releases the keys that are held for no more than an ending whose retention is over."""
        now_s = self._clock.now_s()
        for run in [run for run in self.runs.values() if run.forget_at_s is not None and run.forget_at_s <= now_s]:
            if self.runs.get(run.ref) is run:
                del self.runs[run.ref]
                await self._rows.release(run.claim)
        if not self._store.durable:
            await self._store.expire_ended()

    async def drain(self) -> None:
        """Returns once nothing is being claimed, stored or released. The callers have ended by then."""
        await self._changes.all_ended()
        await self._endings.all_ended()

    def drop_all(self) -> None:
        """The fence: nothing more is returned or stored; those that wait here ask again, and are refused."""
        for run in self.runs.values():
            run.end(None)
        self.runs.clear()

    async def _take(self, ref: OnceRef, caller: OnceCaller, *, idempotent: bool, in_child: bool) -> OnceRun | Ending:
        if len(self.runs) + len(self._changes) > self.limits.max_keys:  # this key is one of those that change
            raise NodeOverloaded
        claim = await self._rows.claim(ref)
        not_begun = self._not_begun.take(ref)
        start = RunStart(
            caller,
            idempotent,
            uuid.uuid4().hex,
            self.limits.failure_s,
            self.limits.retention_s,
            in_child,
            not_begun,
        )
        try:
            stored = await self._rows.change(claim, begin(self._rows.ownership(claim), start))
        except StoreUnavailable:
            self._not_begun.add(ref, not_begun | {claim.epoch})
            raise
        if stored.state in ENDED:
            await self._rows.release(claim)
            if stored.state == TASK_STATE_UNKNOWN or stored.ending.error_type == ENDED_NODE:
                self._rows.audit_ending(claim, stored.ending)
            return stored.ending
        run = self.runs[ref] = OnceRun(claim, stored, asyncio.get_running_loop().create_future())
        return run

    def _give_back(self, taking: "asyncio.Future[OnceRun | Ending]") -> None:
        if not taking.cancelled() and taking.exception() is None and isinstance(run := taking.result(), OnceRun):
            self.begin_conclude(run, Ending(TASK_STATE_PENDING))

    async def _conclude(self, run: OnceRun, ending: Ending) -> None:
        try:
            keep_s = self.limits.retention_s if ending.state in (TASK_STATE_COMPLETED, TASK_STATE_FAILED) else None
            await self._rows.end(run.claim, ending, keep_s)
        except Exception as error:
            # The row says RUNNING: it is taken as cut off.
            _log.warning("once_not_kept", reason=getattr(error, "reason", type(error).__name__))
            await self._release(run, None)
            raise
        self._rows.audit_ending(run.claim, ending)
        if ending.state == TASK_STATE_PENDING:
            await self._release(run, None)
        elif self._store.durable:
            await self._release(run, ending)
        else:
            if (held_s := self.limits.held_s(ending, idempotent=run.stored.idempotent)) is not None:
                run.forget_at_s = self._clock.now_s() + held_s
            run.end(ending)

    async def _release(self, run: OnceRun, ending: Ending | None) -> None:
        if self.runs.get(run.ref) is run:
            del self.runs[run.ref]
        if ending is not None:
            run.end(ending)
        await self._rows.release(run.claim)
        run.end(ending)  # those that have to ask again find the key free

    async def _resolve(self, ref: OnceRef, result_json: str | None) -> StoredRun:
        claim = await self._rows.claim(ref)
        self.runs.pop(ref, None)  # with a volatile store; its claim was put again
        stored = await self._rows.change(
            claim, resolve(self._rows.ownership(claim), result_json, self.limits.retention_s)
        )
        self._rows.audit_resolution(claim, stored)
        if self._store.durable or stored.state == TASK_STATE_PENDING:
            await self._rows.release(claim)
        else:
            run = self.runs[ref] = OnceRun(claim, stored, asyncio.get_running_loop().create_future())
            run.forget_at_s = self._clock.now_s() + self.limits.retention_s
            run.end(stored.ending)
        return stored

    async def _end_orphan(self, ref: OnceRef, caller: OnceCaller) -> None:
        try:
            claim = await self._rows.claim(ref)
        except (NotOwner, SessionMoving, ClaimUnreadable):
            return  # somebody runs it, or did until a moment ago
        ending = end_orphan(self._rows.ownership(claim), caller, self.limits.retention_s)
        stored = await self._rows.change(claim, ending)
        if stored.state == TASK_STATE_UNKNOWN or stored.ending.error_type == TURN_ENDED:
            self._rows.audit_ending(claim, stored.ending)
        await self._rows.release(claim)
