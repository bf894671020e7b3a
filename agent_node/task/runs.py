"""Runs of tasks: at most one at a time in the cluster, joined by all callers that come meanwhile.

Guarantees: a task is stored before its run is announced, and run under its key's claim, so two nodes never run it at
the same time while their leases stand, and the epoch fences what a node writes whose lease does not; on this node,
callers that come while the claim or the run is under way join it. On a durable store the key is released with the run's
end: a later caller, on any node, gets the result from the store until the retention is over. A volatile store is known
to this node alone, so there an ended run keeps its claim, and later calls are led here.

A node that dies takes its keys with its lease: the next call, or the sweep, runs the task again, and the new run
continues its event log beyond where the lost one may have ended. A caller that leaves cancels nothing.

Called by the task service and the sweep; owned by the incarnation.
"""

import asyncio
import uuid
from collections.abc import Mapping

import structlog

from agent_node.run.call_terms import NO_TERMS, CallTerms, to_stored
from agent_node.run.environment import RunEnvironment
from agent_node.run.input_fingerprint import input_fingerprint
from agent_node.run.input_parts import check_input
from agent_node.run.slots import RunSlots
from agent_node.settings import NodeSettings
from agent_node.store import StoredTask, TaskRequest, TaskStore
from agent_node.task.ended import EndedTasks
from agent_node.task.run import UNWATCHED, TaskRun, all_ended
from agent_node.task.run_steps import decide_end
from agent_node.task.runner import TaskRunner
from agent_node.task.starter import TaskStarter
from agent_node.task.unwatched import Unwatched
from agentring.agent import Agent
from agentring.cluster.claim import Claims
from agentring.cluster.clock import Clock
from agentring.errors import (
    AgentMismatch,
    AgentNotFound,
    AgentringError,
    AgentUnavailable,
    NodeDraining,
    NodeOverloaded,
    StaleEpoch,
    StoreUnavailable,
    TaskInputMismatch,
    TaskKeyActive,
)
from agentring.ids import TaskRef
from agentring.v1 import session_pb2, task_pb2

_LAST_WRITES_S = 20.0
"""How long runs that a drain has stopped may take to have their ends stored."""

_log = structlog.get_logger()


class TaskRuns:
    """The tasks that this incarnation of the node runs."""

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
        """slots: the node's run slots; tasks: owns the runs."""
        self._env = env
        self._claims = claims
        self._store = store
        self._clock = clock
        self._ended = EndedTasks(store, claims, clock)
        self._tasks = tasks
        self._slots = slots
        self.unwatched = Unwatched(clock, settings.unwatched_timeout_s, self._cancel_unwatched)
        runner = TaskRunner(env, claims, store, agents, clock, settings, slots, tasks)
        self._starter = TaskStarter(
            env, claims, store, agents, clock, settings, runner, self._ended, self.unwatched, tasks
        )
        self._held = self._starter.held

    def __len__(self) -> int:
        """How many keys this node holds, on a volatile store those of ended runs included."""
        return len(self._held)

    def __contains__(self, ref: object) -> bool:
        """Whether this node has a run of the key, or is about to."""
        return ref in self._starter

    @property
    def draining(self) -> bool:
        """Whether it starts nothing any more."""
        return self._starter.draining

    @property
    def under_way(self) -> list[TaskRun]:
        """The runs that have not ended."""
        return list(self._held.under_way())

    @property
    def running(self) -> int:
        """How many runs are under way."""
        return len(self._held.under_way())

    async def run(
        self,
        ref: TaskRef,
        agent: str,
        task_input: session_pb2.Input,
        retention_s: float,
        on_duplicate: task_pb2.OnDuplicate.ValueType,
        *,
        cancel_when_unwatched: bool = False,
        sent_seq: int = 0,
        terms: CallTerms = NO_TERMS,
    ) -> tuple[TaskRun, task_pb2.Disposition.ValueType]:
        """Starts the task's run, or finds it. sent_seq: up to which event the caller has those of a run that was lost
        with its node; terms: the call's.

        Raises MalformedRequest, TaskInputMismatch, TaskKeyActive, AgentRequired, AgentNotFound, NodeOverloaded,
        TooManyTasks, QuotaExceeded, NodeDraining, NotOwner, SessionMoving, NodeFenced, CoordinatorUnavailable,
        StoreUnavailable. Cancellation: a run that was started goes on.
        """
        self._env.lease.check()
        check_input(task_input, may_have_files=False)  # what is no JSON is refused now, not when the task runs
        fingerprint = input_fingerprint(task_input, agent)
        raw, request_id = to_stored(task_input, terms), uuid.uuid4().hex
        request = TaskRequest(ref, agent, fingerprint, raw, retention_s, cancel_when_unwatched, request_id)
        sized = terms.subject, len(raw), self._slots.free
        run = await self._known(ref) or await self._ended_or_refused(ref, agent, *sized)
        if run is None:
            try:
                run = await self._starter.accept(request, sent_seq)
            except (AgentNotFound, AgentUnavailable) as error:
                raise (error if error.agent == agent else TaskInputMismatch) from None
        if run.request_id == request_id:
            return run, task_pb2.DISPOSITION_STARTED
        if run.fingerprint != fingerprint:
            raise TaskInputMismatch
        if run.has_ended:
            return run, task_pb2.DISPOSITION_REPLAYED
        if on_duplicate == task_pb2.ON_DUPLICATE_REJECT:
            raise TaskKeyActive
        return self.unwatched.reset_time(run), task_pb2.DISPOSITION_JOINED

    async def find(self, ref: TaskRef, agent: str = "", *, to_cancel: bool = False) -> TaskRun:
        """The task's run. One that was accepted, has not ended and has no owner is resumed here, or, to_cancel, ended.
        agent: empty, or whose task it must be.

        Raises AgentMismatch, NotOwner, SessionMoving, TaskNotFound, AgentNotFound, NodeOverloaded, NodeDraining,
        NodeFenced, CoordinatorUnavailable, StoreUnavailable.
        """
        stored = await self._here_or_stored(ref, agent)
        if isinstance(stored, TaskRun):
            return self.unwatched.reset_time(stored)
        if stored.has_ended:
            return self._ended.restore(stored)
        if not (to_cancel or self._starter.takes_more or self._starter.is_starting(ref)):
            await self._claims.disclaim(ref, self.__contains__)
            raise NodeDraining if self.draining else NodeOverloaded
        return await self._starter.resume(stored, to_cancel=to_cancel)

    async def look_up(self, ref: TaskRef, agent: str = "") -> TaskRun | StoredTask:
        """The run if it is here; what the store has of the task if nobody runs it; never claims. Raises
        AgentMismatch, NotOwner, SessionMoving, TaskNotFound, NodeFenced, CoordinatorUnavailable, StoreUnavailable."""
        found = await self._here_or_stored(ref, agent)
        if found.has_ended or isinstance(found, TaskRun):
            return found
        await self._claims.raise_if_held_elsewhere(ref)
        return await self._ended.read(ref)  # it may have ended between the two looks

    async def cancel(self, run: TaskRun, reason: str = "CLIENT") -> None:
        """Cancels a run and returns once it has ended; one that has ended stays as it is. Raises what the run was
        dropped with."""
        await asyncio.sleep(0)  # a task that is cancelled before its first step does not even publish its end
        await self._decide_end(run, reason)
        run.cancel(reason)
        await run.ended.wait()
        if not run.has_ended:
            run.log.check()

    async def _decide_end(self, run: TaskRun, reason: str) -> None:
        try:
            await decide_end(self._env, self._store, run, reason)
        except (StaleEpoch, StoreUnavailable) as error:
            run.fail(error)  # nothing, where it has ended meanwhile

    def _cancel_unwatched(self, run: TaskRun) -> None:
        if not (self._store.durable and run.may_have_steps):
            run.cancel(UNWATCHED)
        elif run.decide(UNWATCHED):  # nobody joins it from now on
            self._tasks.create_task(self._cancel_decided(run, UNWATCHED))

    async def _cancel_decided(self, run: TaskRun, reason: str) -> None:
        await self._decide_end(run, reason)
        run.cancel_decided()

    async def resume(self, ref: TaskRef) -> None:
        """For the sweep: runs a task that was left behind, if it still is. Raises as `find`."""
        self._env.lease.check()
        if ref in self or not self._starter.takes_more:
            return
        stored = await self._store.read(ref)
        if stored is not None and not stored.has_ended:
            await self._starter.resume(stored)

    async def drain(self, timeout_s: float) -> None:
        """Starts nothing more, lets the runs end until timeout_s and hands on the rest; on a volatile store, where
        nobody could resume them, cancels the rest. What has not ended soon after that is dropped: the next caller or
        the sweep of another node resumes it. Returns once nothing is being claimed."""
        self._starter.draining = True
        runs = self._held.under_way()
        await all_ended(runs, timeout_s)
        await asyncio.sleep(0)  # as in `cancel`
        for run in runs:
            if self._store.durable:
                run.fail(NodeDraining())
            else:
                run.cancel("NODE_DRAINING")
        if not await all_ended(runs, self._env.limits.cancel_grace_s + _LAST_WRITES_S):
            _log.error("task_runs_not_ended")
        for run in runs:
            if run.ended.is_set():
                run.log.end(NodeDraining())
            else:
                run.drop(NodeDraining())
        await self._starter.all_started()

    def drop_all(self, error: AgentringError) -> None:
        """Ends every run at once: its streams end with the error, nothing more is stored or published."""
        self._starter.drop_all(error)

    async def forget_ended(self) -> None:
        """On a volatile store: releases the keys whose retention is over."""
        for run in self._held.evict_expired(self._clock.now_s()):
            await self._starter.release(run)

    async def _here_or_stored(self, ref: TaskRef, agent: str) -> TaskRun | StoredTask:
        self._env.lease.check()
        found = self._held.get(ref) or self._ended.cached(ref) or await self._ended.read(ref)
        if agent not in ("", found.agent):
            raise AgentMismatch(found.agent)
        return found

    async def _known(self, ref: TaskRef) -> TaskRun | None:
        """The run that is under way here, or that has ended and is in memory. One that is being cancelled because
        nobody watched it is none: the task then begins anew."""
        while (run := self._held.get(ref)) is not None and run.begins_anew:
            await run.ended.wait()
            self._env.lease.check()
        return run or self._ended.cached(ref)

    async def _ended_or_refused(
        self, ref: TaskRef, agent: str, subject: str, size_bytes: int, free: int
    ) -> TaskRun | None:
        """Refuses a caller for whom nothing can be started here; None: it can. Only a task that nobody runs may be
        refused: another node's is answered with that node's address, and an ended one with its result."""
        refusal = self._starter.refusal(ref, agent, subject, size_bytes, free)
        if refusal is None:
            return None
        stored = await self._store.read(ref)
        if stored is not None and stored.has_ended and not stored.may_begin_anew:
            return self._ended.restore(stored)
        await self._claims.disclaim(ref, self.__contains__)
        raise refusal
