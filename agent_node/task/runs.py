"""Runs of tasks: at most one at a time in the cluster, joined by everyone who asks meanwhile.

Guarantees: a task is stored before anybody is told of it, and run under its key's claim, so two nodes never run it at
the same time while their leases stand, and the epoch fences what a node writes whose lease does not; on this node,
whoever asks while the claim or the run is under way joins it. On a durable store the key is given up with the run's
end: whoever comes later, on any node, is given the result by the store until the retention is over. A volatile store is
known to this node alone, so there an ended run keeps its claim, and later calls are led here.

A node that dies takes its keys with its lease: the next call, or the sweep, runs the task again, and the new run's
story goes on beyond where that one's may have ended. A caller that leaves cancels nothing.

Called by the task service and the sweep; owned by the incarnation.
"""

import asyncio
import uuid
from collections.abc import Mapping
from functools import partial

import structlog

from agent_node.json_values import from_struct
from agent_node.run.environment import RunEnvironment
from agent_node.run.input_fingerprint import input_fingerprint
from agent_node.run.slots import RunSlots
from agent_node.settings import NodeSettings
from agent_node.single_flight import SingleFlight
from agent_node.store import StoredTask, TaskRequest, TaskStore
from agent_node.task.ended import EndedTasks
from agent_node.task.quota import TaskQuota
from agent_node.task.run import TaskRun, all_ended
from agent_node.task.runner import TaskRunner
from agent_node.task.unwatched import Unwatched
from agentring.agent import Agent
from agentring.cluster.claim import Claims
from agentring.cluster.clock import Clock
from agentring.errors import (
    AgentMismatch,
    AgentNotFound,
    AgentRequired,
    AgentringError,
    AgentUnavailable,
    NodeDraining,
    NodeOverloaded,
    SessionMoving,
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
        self._agents = agents
        self._clock = clock
        self._tasks = tasks
        self._runner = TaskRunner(env, claims, store, agents, clock, settings, slots)
        self._runs: dict[TaskRef, TaskRun] = {}
        """Those under way; on a volatile store also those that have ended, in the order of their ends."""
        self._ended = EndedTasks(store, claims, clock)
        self._starts: SingleFlight[TaskRef, TaskRun] = SingleFlight(tasks)
        self.unwatched = Unwatched(clock, settings.unwatched_timeout_s)
        self._room = TaskQuota(self._runs, self._starts, settings, durable=store.durable)
        self._draining = False

    def __len__(self) -> int:
        """How many keys this node holds, on a volatile store those of ended runs included."""
        return len(self._runs)

    def __contains__(self, ref: object) -> bool:
        """Whether this node has a run of the key, or is about to."""
        return ref in self._runs or (isinstance(ref, TaskRef) and ref in self._starts)

    @property
    def draining(self) -> bool:
        """Whether it starts nothing any more."""
        return self._draining

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
        cancel_when_unwatched: bool = False,
        told_seq: int = 0,
    ) -> tuple[TaskRun, task_pb2.Disposition.ValueType]:
        """Starts the task's run, or finds it. told_seq: what the caller was told by a run that was lost with its node.

        Raises MalformedRequest, TaskInputMismatch, TaskKeyActive, AgentRequired, AgentNotFound, NodeOverloaded,
        TooManyTasks, NodeDraining, NotOwner, SessionMoving, NodeFenced, CoordinatorUnavailable, StoreUnavailable.
        Cancellation: a run that was started goes on.
        """
        self._env.lease.check()
        from_struct(given.data)  # what is no JSON is refused now, not when the task runs
        fingerprint = input_fingerprint(given, agent)
        raw, request_id = given.SerializeToString(), uuid.uuid4().hex
        request = TaskRequest(ref, agent, fingerprint, raw, retention_s, cancel_when_unwatched, request_id)
        run = await self._known(ref) or await self._refused(ref, agent)
        if run is None:
            # Made here and not in the start, so that concurrent starts do not count on the same room.
            gone = self._room.make() if ref not in self._starts else None
            try:
                run = await self._starts.get(ref, lambda: self._accept(request, gone, told_seq))
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
        return self.unwatched.asked_for(run), task_pb2.DISPOSITION_JOINED

    async def find(self, ref: TaskRef, agent: str = "", *, to_cancel: bool = False) -> TaskRun:
        """The task's run. One that was accepted, has not ended and is nobody's is taken up here, or, to_cancel, ended.
        agent: empty, or whose task it must be.

        Raises AgentMismatch, NotOwner, SessionMoving, TaskNotFound, AgentNotFound, NodeOverloaded, NodeDraining,
        NodeFenced, CoordinatorUnavailable, StoreUnavailable.
        """
        stored = await self._here_or_stored(ref, agent)
        if isinstance(stored, TaskRun):
            return self.unwatched.asked_for(stored)
        if stored.has_ended:
            return self._ended.told_again(stored)
        if ref not in self._starts and (self._draining or self._room.is_full) and not to_cancel:
            await self._claims.disclaim(ref, self.__contains__)
            raise NodeDraining if self._draining else NodeOverloaded
        return await self._starts.get(ref, lambda: self._resume(stored, 0, to_cancel=to_cancel))

    async def look_up(self, ref: TaskRef, agent: str = "") -> TaskRun | StoredTask:
        """The run if it is here; what the store has of the task if nobody runs it; never claims. Raises
        AgentMismatch, NotOwner, SessionMoving, TaskNotFound, NodeFenced, CoordinatorUnavailable, StoreUnavailable."""
        found = await self._here_or_stored(ref, agent)
        if found.has_ended or isinstance(found, TaskRun):
            return found
        await self._claims.raise_if_held_elsewhere(ref)
        return await self._ended.read(ref)  # it may have ended between the two looks

    async def cancel(self, run: TaskRun) -> None:
        """Cancels a run and returns once it has ended; one that has ended stays as it is. Raises what the run was
        dropped with."""
        await asyncio.sleep(0)  # a task that is cancelled before its first step does not even tell its end
        run.cancel("CLIENT")
        await run.ended.wait()
        if not run.has_ended:
            run.log.check()

    async def resume(self, ref: TaskRef) -> None:
        """For the sweep: runs a task that was left behind, if it still is. Raises as `find`."""
        self._env.lease.check()
        if ref in self or self._draining or self._room.is_full:
            return
        stored = await self._store.read(ref)
        if stored is not None and not stored.has_ended:
            await self._starts.get(ref, lambda: self._resume(stored, 0))

    async def drain(self, timeout_s: float) -> None:
        """Starts nothing more, lets the runs end until timeout_s and hands on the rest; on a volatile store, where
        nobody could go on with them, cancels the rest. What has not ended soon after that is dropped: the next caller
        or the sweep of another node takes it up. Returns once nothing is being claimed."""
        self._draining = True
        runs = [run for run in self._runs.values() if not run.has_ended]
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
        await self._starts.all_ended()

    def drop_all(self, error: AgentringError) -> None:
        """Ends every run at once: its streams end with the error, nothing more is stored or published."""
        for run in self._runs.values():
            run.drop(error)
        self._runs.clear()
        self.unwatched.clear()
        self._room.clear()

    async def forget_ended(self) -> None:
        """On a volatile store: gives up the keys whose retention is over."""
        for run in self._room.forgotten(self._clock.now_s()):
            await self._release(run)

    async def _here_or_stored(self, ref: TaskRef, agent: str) -> TaskRun | StoredTask:
        self._env.lease.check()
        found = self._runs.get(ref) or self._ended.remembered(ref) or await self._ended.read(ref)
        if agent not in ("", found.agent):
            raise AgentMismatch(found.agent)
        return found

    async def _known(self, ref: TaskRef) -> TaskRun | None:
        """The run that is under way here, or that has ended and is remembered. One that is being cancelled because
        nobody watched it is none: the task then begins anew."""
        while (run := self._runs.get(ref)) is not None and run.begins_anew:
            await run.ended.wait()
            self._env.lease.check()
        return run or self._ended.remembered(ref)

    async def _refused(self, ref: TaskRef, agent: str) -> TaskRun | None:
        """Refuses a caller for whom nothing can be started here; None: it can. Only a task that nobody runs may be
        refused: another node's is answered with where it is, and an ended one with its result."""
        refusal = self._refusal(ref, agent)
        if refusal is None:
            return None
        stored = await self._store.read(ref)
        if stored is not None and stored.has_ended and not stored.may_begin_anew:
            return self._ended.told_again(stored)
        await self._claims.disclaim(ref, self.__contains__)
        raise refusal

    def _refusal(self, ref: TaskRef, agent: str) -> AgentringError | None:
        if not agent:
            return AgentRequired()
        if agent not in self._agents:
            return self._env.missing_agent(agent)
        if ref in self._starts:
            return None
        return NodeDraining() if self._draining else self._room.refusal(ref.tenant)

    async def _accept(self, request: TaskRequest, gone: TaskRun | None, told_seq: int) -> TaskRun:
        if gone is not None:
            await self._release(gone)
        stored = await self._store.accept(request)
        return self._ended.told_again(stored) if stored.has_ended else await self._resume(stored, told_seq)

    async def _resume(self, stored: StoredTask, told_seq: int, *, to_cancel: bool = False) -> TaskRun:
        if stored.agent not in self._agents and not to_cancel:
            await self._claims.disclaim(stored.ref, self.__contains__)
            raise self._env.missing_agent(stored.agent)
        if (known := self._runs.get(stored.ref)) is not None:
            return known  # another call has begun it since this one read the store
        run = await self._runner.begin(stored, told_seq)
        if run is None:
            now = await self._ended.read(stored.ref)
            if not now.has_ended:
                raise SessionMoving
            return self._ended.told_again(now)
        if to_cancel:
            run.cancel_reason = "CLIENT"
        elif self._draining:  # the drain has begun since and does not know of this run
            await self._runner.put_back(run)
            await self._release(run)
            raise NodeDraining
        self._runs[run.ref] = run
        self.unwatched.add(run)
        self._room.begun(run)
        run.task = self._tasks.create_task(self._runner.carry_out(run, self._over))
        run.task.add_done_callback(partial(self._never_over, run))
        return run

    def _never_over(self, run: TaskRun, _: "asyncio.Task[None]") -> None:
        """Whatever ended the run's task, a cancellation by nobody of ours say: who waits for the run is told, and the
        next caller or the sweep begins it again."""
        if run.ended.is_set():
            return
        run.drop(SessionMoving())
        leaving = self._over(run)
        try:
            self._tasks.create_task(leaving)
        except RuntimeError:
            leaving.close()  # the incarnation ends, and the claim with its lease

    async def _over(self, run: TaskRun) -> None:
        """The run has ended or was dropped."""
        self.unwatched.discard(run)
        self._room.over(run)
        run.forget_at_s = self._clock.now_s() + run.retention_s
        stays = run.has_ended and not run.begins_anew
        if self._runs.get(run.ref) is run:
            # At the end of the mapping, so that it has ended runs in the order of their ends.
            del self._runs[run.ref]
            if stays and not self._store.durable:
                self._runs[run.ref] = run
                return
        if stays:
            self._ended.remember(run)
        await self._release(run)

    async def _release(self, run: TaskRun) -> None:
        if run.claim is not None:
            await self._runner.release(run.ref, run.claim)
