"""Runs of task keys: at most one at a time in the cluster, joined by everyone who asks meanwhile.

Guarantees: an agent is started for a key only after the key's claim, so two nodes never run it at the same time while
their leases stand; on this node, whoever asks while the claim or the run is under way joins it; an ended run keeps its
claim until its retention is over, so that a duplicate that comes later, through any router, is led here and given the
result. A node that dies takes its keys with its lease: the next request runs the task anew; where that is a stream of
the lost run, which its router brings here, the new run's story goes on beyond where that one's may have ended.

Called by the task service; owned by the incarnation.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial

import structlog

from agent_node.agent import Agent
from agent_node.event_log import NO_END, EventLog, NumberRange
from agent_node.fingerprint import input_fingerprint
from agent_node.json_values import from_struct
from agent_node.settings import NodeSettings
from agent_node.shared_calls import SharedCalls
from agent_node.store import SEQ_RANGE
from agent_node.task_run import TaskRun
from agent_node.turn import Completed, Failed, RunEnvironment, TurnInput, run_agent
from agentring.cluster.claim import Claim, Claims
from agentring.cluster.clock import Clock
from agentring.errors import (
    AgentNotFound,
    AgentRequired,
    AgentringError,
    InternalError,
    NodeDraining,
    NodeFenced,
    NodeOverloaded,
    TaskInputMismatch,
    TaskKeyActive,
    TaskNotFound,
)
from agentring.ids import TaskRef
from agentring.v1 import session_pb2, task_pb2
from agentring.v1.session_pb2 import Event

_log = structlog.get_logger()


class TaskRuns:
    """The task keys that this incarnation of the node holds."""

    def __init__(
        self,
        env: RunEnvironment,
        claims: Claims,
        agents: Mapping[str, Agent],
        clock: Clock,
        settings: NodeSettings,
        slots: asyncio.Semaphore,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """slots: the node's places for running turns; tasks: owns the runs."""
        self._env = env
        self._claims = claims
        self._agents = agents
        self._clock = clock
        self._settings = settings
        self._slots = slots
        self._tasks = tasks
        self._runs: dict[TaskRef, TaskRun] = {}
        self._starts: SharedCalls[TaskRef, TaskRun] = SharedCalls(tasks)
        self._draining = False

    def __len__(self) -> int:
        """How many keys this node holds, those of ended runs included."""
        return len(self._runs)

    def __contains__(self, ref: object) -> bool:
        """Whether this node has a run of the key, or is about to."""
        return ref in self._runs or (isinstance(ref, TaskRef) and ref in self._starts)

    @property
    def running(self) -> int:
        """How many runs are under way."""
        return sum(not run.has_ended for run in tuple(self._runs.values()))

    async def run(
        self,
        ref: TaskRef,
        agent: str,
        given: session_pb2.Input,
        retention_s: float,
        on_duplicate: task_pb2.OnDuplicate.ValueType,
        *,
        told_seq: int = 0,
    ) -> tuple[TaskRun, task_pb2.Disposition.ValueType]:
        """Starts the key's run, or finds it. told_seq: what the caller was told by a run that was lost with its node.

        Raises MalformedRequest, TaskInputMismatch, TaskKeyActive, AgentRequired, AgentNotFound, NodeOverloaded,
        NodeDraining, NotOwner, SessionMoving, NodeFenced, CoordinatorUnavailable. Cancellation: a run that was started
        goes on.
        """
        self._env.lease.check()
        from_struct(given.data)  # what is no JSON is refused now, not when the task runs
        fingerprint = input_fingerprint(given, agent)
        run = self._runs.get(ref)
        if run is None:
            starts = ref not in self._starts
            if starts and (refusal := self._refusal(agent)) is not None:
                # Only a key that nobody holds may be refused; another node's is answered with where it is.
                await self._claims.disclaim(ref, self.__contains__)
                raise refusal
            # Made here and not in the start, so that concurrent starts do not count on the same room.
            gone = self._make_room() if starts else None
            made = partial(TaskRun, ref, agent, given, fingerprint, retention_s)
            run = await self._starts.get(ref, lambda: self._start(ref, made, gone, told_seq))
            if starts:
                return run, task_pb2.DISPOSITION_STARTED
        if run.fingerprint != fingerprint:
            raise TaskInputMismatch
        if run.has_ended:
            return run, task_pb2.DISPOSITION_REPLAYED
        if on_duplicate == task_pb2.ON_DUPLICATE_REJECT:
            raise TaskKeyActive
        return run, task_pb2.DISPOSITION_JOINED

    async def find(self, ref: TaskRef) -> TaskRun:
        """The key's run if this node holds it; never claims. Raises NotOwner, SessionMoving, TaskNotFound, NodeFenced,
        CoordinatorUnavailable."""
        self._env.lease.check()
        if (run := self._runs.get(ref)) is not None:
            return run
        await self._claims.raise_if_held_elsewhere(ref)
        raise TaskNotFound

    async def cancel(self, run: TaskRun) -> None:
        """Cancels a run and returns once it has ended; one that has ended stays as it is. Raises what the run was
        dropped with."""
        await asyncio.sleep(0)  # a task that is cancelled before its first step does not even tell its end
        run.cancel("CLIENT")
        await run.ended.wait()
        if not run.has_ended:
            run.log.check()

    async def drain(self, timeout_s: float) -> None:
        """Starts nothing more, lets the runs end until timeout_s, cancels the rest and ends the streams. Returns once
        nothing is being claimed."""
        self._draining = True
        runs = [run for run in self._runs.values() if not run.has_ended]
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await _all_ended(runs)
        for run in runs:
            run.cancel("NODE_DRAINING")
        await _all_ended(runs)
        for run in runs:
            run.log.end(NodeDraining())
        await self._starts.all_ended()

    def drop_all(self, error: AgentringError) -> None:
        """Ends every run at once: its streams end with the error, nothing more is published."""
        for run in self._runs.values():
            run.drop(error)
        self._runs.clear()

    async def forget_ended(self) -> None:
        """Gives up the keys whose retention is over."""
        now_s = self._clock.now_s()
        for run in [run for run in self._runs.values() if run.forget_at_s is not None and run.forget_at_s <= now_s]:
            await self._forget(run)

    async def _start(
        self, ref: TaskRef, made: Callable[[Claim, EventLog], TaskRun], gone: TaskRun | None, told_seq: int
    ) -> TaskRun:
        if gone is not None:
            await self._release(gone.claim)
        claim = await self._claims.claim(ref)
        self._env.audit.write("claimed", ref, epoch=claim.epoch)
        self._env.lease.check()
        if self._draining:
            await self._release(claim)
            raise NodeDraining  # the drain has begun since and does not know of this run
        # Others may have been told more than this caller; none of the range is used twice.
        covered_seq = -(-told_seq // SEQ_RANGE) * SEQ_RANGE
        numbers = NumberRange(covered_seq, NO_END, lambda: None)
        run = made(claim, EventLog(claim.epoch, self._settings.max_log_bytes, numbers, head_seq=0))
        if told_seq:
            run.cover(covered_seq)
        self._runs[ref] = run
        run.task = self._tasks.create_task(self._run(run))
        return run

    @property
    def _is_full(self) -> bool:
        return len(self._runs) + len(self._starts) >= self._settings.max_tasks

    @property
    def _first_ended(self) -> TaskRun | None:
        return next((run for run in self._runs.values() if run.has_ended), None)

    def _make_room(self) -> TaskRun | None:
        """Forgets the run that ended first if the node holds all the keys it may; its claim is still to be released."""
        return self._runs.pop(ended.ref) if self._is_full and (ended := self._first_ended) is not None else None

    def _refusal(self, agent_name: str) -> AgentringError | None:
        if self._draining:
            return NodeDraining()
        if not agent_name:
            return AgentRequired()
        if agent_name not in self._agents:
            return AgentNotFound(agent_name)
        if self._is_full and self._first_ended is None:
            return NodeOverloaded()
        return None

    async def _run(self, run: TaskRun) -> None:
        try:
            try:
                async with self._slots:
                    outcome = await self._run_agent(run)
            except asyncio.CancelledError:
                if run.cancel_reason is None:
                    raise  # dropped
                outcome = None
            self._env.lease.check()
            self._end(run, outcome)
        except NodeFenced:
            pass  # the incarnation drops everything
        except Exception:
            error_id = f"{run.epoch:x}"
            _log.exception("task_run_failed", error_id=error_id)
            run.drop(InternalError(error_id))
            await self._forget(run)

    async def _run_agent(self, run: TaskRun) -> Completed | Failed:
        self._env.lease.check()
        run.state = task_pb2.TASK_STATE_RUNNING
        self._env.audit.write("task_started", run.ref, epoch=run.epoch, attempt=run.attempt)
        run.log.append(Event(attempt=run.attempt, turn_started=session_pb2.TurnStarted(node_id=self._env.node_id)))
        given = TurnInput(
            ref=run.ref,
            turn_id="",
            attempt=run.attempt,
            text=run.input.text,
            data=from_struct(run.input.data),
            state_json="{}",
            history=(),
            turn_number=1,
        )
        return await run_agent(self._env, self._agents[run.agent], given, run.log, run.epoch)

    def _end(self, run: TaskRun, outcome: Completed | Failed | None) -> None:
        """Publishes the end; outcome None: cancelled."""
        audit, epoch = self._env.audit, run.epoch
        match outcome:
            case Completed():
                run.end(task_pb2.TASK_STATE_COMPLETED, Event(turn_completed=outcome.to_event()), outcome)
                audit.write("task_committed", run.ref, epoch=epoch)
            case Failed():
                run.end(task_pb2.TASK_STATE_FAILED, Event(turn_failed=outcome.to_event()), outcome)
                audit.write("task_failed", run.ref, epoch=epoch, reason=outcome.reason)
            case None:
                reason = run.cancel_reason or ""
                cancelled = session_pb2.TurnCancelled(reason=reason)
                run.end(task_pb2.TASK_STATE_CANCELLED, Event(turn_cancelled=cancelled), None)
                audit.write("task_cancelled", run.ref, epoch=epoch, reason=reason)
        run.forget_at_s = self._clock.now_s() + run.retention_s
        # Moved to the end, so that the mapping has ended runs in the order of their ends.
        self._runs[run.ref] = self._runs.pop(run.ref)

    async def _forget(self, run: TaskRun) -> None:
        if self._runs.get(run.ref) is run:
            del self._runs[run.ref]
            await self._release(run.claim)

    async def _release(self, claim: Claim) -> None:
        try:
            released = await self._claims.release(claim)
        except AgentringError as error:
            _log.warning("release_failed", reason=error.reason)  # the claim ends with the lease at the latest
        else:
            if released:
                self._env.audit.write("released", claim.ref, epoch=claim.epoch)


async def _all_ended(runs: Iterable[TaskRun]) -> None:
    for run in runs:
        await run.ended.wait()
