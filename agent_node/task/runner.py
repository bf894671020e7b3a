"""Carries a task's run out: claim, raise, agent, end, publish, release.

Guarantees: the agent is started only under a claim, and after the task's epoch was raised in the store; the end is
stored before it is published, and published only while the lease stands; every write says the run's epoch, so that what
a node does that was frozen meanwhile changes nothing. Where the store's answer to the end is not known the write is
tried again, which it is made for; if that does not help the run is dropped: the node that resumes the task finds out
whether the end landed.

A crash between any two steps leaves the task either PENDING or RUNNING under an epoch that nobody holds any more, and
the next caller or the sweep runs it again, or ended, and the next caller gets the result. Used by `TaskRuns`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

import structlog
from google.protobuf.message import DecodeError

from agent_node.events.entries import Entry
from agent_node.json_values import from_struct
from agent_node.log_fields import TRACE, named
from agent_node.ownership.release import release
from agent_node.run.agent_run import run_agent
from agent_node.run.environment import RunEnvironment
from agent_node.run.event_rows import entries_of
from agent_node.run.halted_start import HALTED, acquire_slot
from agent_node.run.input_parts import parts_of
from agent_node.run.open_calls import cut_off_calls
from agent_node.run.outcome import Completed, Failed, attempts_exhausted, failed_before
from agent_node.run.run_input import TurnInput
from agent_node.run.slots import RunSlot, RunSlots
from agent_node.settings import NodeSettings
from agent_node.step.decided_end import decided_reason
from agent_node.store import StoredTask, TaskStore, ToolStart
from agent_node.store.published import Published, still_valid
from agent_node.store.session_records import text_of
from agent_node.store.step_records import Life
from agent_node.task.run import ATTEMPT_RANGE, TaskRun, begun
from agent_node.task.run_steps import RunSteps, decide_end
from agentring.agent import Agent
from agentring.cluster.claim import Claim, Claims
from agentring.cluster.clock import Clock
from agentring.errors import (
    AgentringError,
    InternalError,
    NodeDraining,
    NodeFenced,
    SessionMoving,
    StaleEpoch,
    StoreUnavailable,
)
from agentring.ids import TaskRef
from agentring.v1 import session_pb2, task_pb2
from agentring.v1.session_pb2 import Event

_END_TRIES = 3
_END_RETRY_S = 1.0

_log = structlog.get_logger()


class TaskRunner:
    """Runs on behalf of one incarnation."""

    def __init__(
        self,
        env: RunEnvironment,
        claims: Claims,
        store: TaskStore,
        agents: Mapping[str, Agent],
        clock: Clock,
        settings: NodeSettings,
        slots: RunSlots,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """slots: the node's run slots; tasks: owns what a run's steps write."""
        self._tasks = tasks
        self._env = env
        self._claims = claims
        self._store = store
        self._agents = agents
        self._clock = clock
        self._settings = settings
        self._slots = slots

    async def begin(self, stored: StoredTask, sent_seq: int) -> TaskRun | None:
        """Claims the task and raises its epoch: the run, which is still to be carried out. None: another node
        has begun or ended it since it was read, and the claim was given back.

        sent_seq: up to which event a caller has those of a run that a volatile store knows nothing of. Raises NotOwner,
        SessionMoving, NodeFenced, CoordinatorUnavailable, StaleEpoch, StoreUnavailable; the claim is given back.
        """
        try:
            claim = await self._claims.claim(stored.ref)
        except AgentringError:
            await self._store.forget_volatile(stored.ref)
            raise
        self._env.audit.write("claimed", stored.ref, epoch=claim.epoch)
        try:
            self._env.lease.check()  # before the store is written to, however long the claim took
            started = await self._store.start(stored.ref, claim.epoch, self._env.owner)
            self._env.lease.check()
            published, entries = await self._published(started) if started is not None else ((), [])
        except Exception:
            await self.release(stored.ref, claim)
            raise
        if started is None:
            await self.release(stored.ref, claim)
            return None
        attempt = max(started.attempt, -(-sent_seq // ATTEMPT_RANGE) + 1)
        self._env.audit.write(
            "task_started", stored.ref, epoch=claim.epoch, attempt=attempt, **self._numbered(started.commit)
        )
        run = begun(started, claim, self._env.node_id, attempt, self._settings.max_log_bytes, published, entries)
        if not self._store.durable and attempt > 1:
            run.deaths += 1  # the run before, of which only its caller knows
        if attempt > 1:
            was_requeued = stored.attempt > 0 and stored.state == task_pb2.TASK_STATE_PENDING
            restarted = session_pb2.AttemptRestarted(reason="NODE_DRAINED" if was_requeued else "NODE_LOST")
            if run.published:
                last = run.published[-1]
                restarted.valid_through_seq, restarted.valid_text_bytes = last.seq, last.text_bytes
                restarted.turn_seq, restarted.valid_numbers = 1, last.numbers
            if not run.valid.append_restart(run.log, Event(attempt=attempt, attempt_restarted=restarted)):
                run.published = ()
        return run

    async def _published(self, started: StoredTask) -> tuple[tuple[Published, ...], list[Entry]]:
        """What earlier runs of a task told before their steps were committed: what is still valid, and all of it.
        Raises StoreUnavailable."""
        if started.attempt == 1 or not self._store.durable:
            return (), []
        life = Life(started.ref.tenant, started.request_id)
        published = still_valid(await self._store.steps.read_published(life))
        try:
            return published, entries_of(await self._store.steps.read_events(life)) if published else []
        except DecodeError:
            return (), []  # nothing stays valid

    async def carry_out(self, run: TaskRun, on_end: Callable[[TaskRun], Awaitable[None]]) -> None:
        """Runs the agent, unless the run was cancelled before; `on_end` is called once it has ended or was dropped."""
        structlog.contextvars.bind_contextvars(**named(run.ref, run.agent))
        try:
            await self._to_the_end(run)
        except NodeFenced as fenced:
            run.drop(fenced)  # as the incarnation does with all of them
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:
            run.drop(self._error_for_streams(run, error))
        await on_end(run)

    async def requeue(self, run: TaskRun) -> None:
        """The run stops half-way because the node does. Where that cannot be stored, the sweep finds the task."""
        with suppress(StaleEpoch, StoreUnavailable):
            await self._store.requeue(run.ref, run.epoch)

    async def release(self, ref: TaskRef, claim: Claim) -> None:
        """Releases a key. One that cannot be released now ends with the lease at the latest."""
        await self._store.forget_volatile(ref)
        await release(self._claims, self._env.lease, self._env.audit, claim)

    async def _to_the_end(self, run: TaskRun) -> None:
        try:
            outcome = await self._outcome(run)
        except asyncio.CancelledError:
            if run.failure is None and run.cancel_reason is None:
                raise  # dropped, or the incarnation ends
            outcome = None
            _forget_cancel()
        if run.failure is not None:
            if isinstance(run.failure, NodeDraining):
                await self.requeue(run)
            raise run.failure
        self._env.lease.check()
        run.ending = True
        if run.published:
            await cut_off_calls(run.log, "", run.attempt, 1)
        if outcome is not None:
            run.cancel_reason = None  # it has ended before what was decided was done
        event, end = run.ending_of(outcome)
        # Invariant: an end is stored before it is published (tests/unit/agent_node/task/test_resumed.py).
        commit = await self._stored(lambda: self._store.end(run.ref, run.epoch, end))
        self._env.lease.check()
        run.end(end.state, event, outcome)
        self._audit_end(run, outcome, commit)

    async def _outcome(self, run: TaskRun) -> Completed | Failed | None:
        if run.cancel_reason is not None:
            return None
        life = Life(run.ref.tenant, run.request_id)
        may_be_decided = run.attempt > 1 and self._store.durable
        if may_be_decided and (reason := await decided_reason(self._store.steps, life)):
            if (failed := failed_before(reason)) is None:
                run.cancel_reason = reason
            return failed
        if run.attempt > self._env.limits.max_attempts:
            last_gain = await self._store.steps.last_gain(life)
            if self._env.limits.are_exhausted(run.attempt, last_gain):
                return attempts_exhausted(run.attempt)
        slot = RunSlot(self._slots, run.ref.tenant, run.terms.subject)
        if not await acquire_slot(self._env.halts, run.ref, run.agent, slot):
            run.cancel_reason = HALTED
            return None
        try:
            self._env.lease.check()
            run.state = task_pb2.TASK_STATE_RUNNING
            run.log.append(Event(attempt=run.attempt, turn_started=session_pb2.TurnStarted(node_id=run.node_id)))
            turn = TurnInput(
                ref=run.ref,
                turn_id="",
                attempt=run.attempt,
                text=text_of(run.input),
                parts=parts_of(run.input),
                data=from_struct(run.input.data),
                state_json="{}",
                history=(),
                turn_number=1,
                tool_starts=lambda start: self._store_tool_start(run, start),
                agent=run.agent,
                deaths=run.deaths,
                published=run.published,
                turn_seq=1,
                restart=partial(run.valid.append_further, run.log),
                steps=partial(RunSteps, self._env, self._store, run, self._tasks),
                decide_end=partial(decide_end, self._env, self._store, run),
                trace=TRACE.get(),
                slot=slot,
                terms=run.terms,
            )
            return await run_agent(self._env, self._agents[run.agent], turn, run.log, run.epoch)
        finally:
            slot.release()

    async def _store_tool_start(self, run: TaskRun, start: ToolStart) -> None:
        try:
            commit = await self._store.assert_owned(run.ref, run.epoch)
        except (StaleEpoch, StoreUnavailable) as error:
            run.fail(error)  # whatever the agent makes of it
            raise
        self._env.lease.check()
        self._env.audit.write(
            "tool_started", run.ref, epoch=run.epoch, turn="", tool=start.name, **self._numbered(commit)
        )

    async def _stored(self, write: Callable[[], Awaitable[int]]) -> int:
        for _ in range(_END_TRIES - 1):
            try:
                return await write()
            except StoreUnavailable:
                await self._clock.sleep(_END_RETRY_S)
                self._env.lease.check()
        return await write()

    def _audit_end(self, run: TaskRun, outcome: Completed | Failed | None, commit: int) -> None:
        fields = {"epoch": run.epoch, **self._numbered(commit)}
        match outcome:
            case Completed():
                self._env.audit.write("task_committed", run.ref, **fields)
            case Failed(reason=reason):
                self._env.audit.write("task_failed", run.ref, reason=reason, **fields)
            case None:
                self._env.audit.write("task_cancelled", run.ref, reason=run.cancel_reason or "", **fields)

    def _numbered(self, commit: int) -> dict[str, int]:
        """A volatile store's numbers begin again on every node, so they order nothing."""
        return {"commit": commit} if self._store.durable else {}

    def _error_for_streams(self, run: TaskRun, error: Exception) -> AgentringError:
        """What the streams of a dropped run end with."""
        if isinstance(error, StaleEpoch):
            return SessionMoving()
        if isinstance(error, AgentringError):
            _log.warning("task_run_dropped", reason=error.reason)
            return error
        error_id = f"{run.epoch:x}"
        _log.exception("task_run_failed", error_id=error_id)
        return InternalError(error_id)


def _forget_cancel() -> None:
    """The cancellation has done its work; what follows is not to be taken for cancelled."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
