"""Begins the runs of tasks on this node, and gives their keys back.

Guarantees: of the callers that want a task begun at the same time one begins it, and all get that run; a run is held
from the moment its task has a claim and a row, and until it has ended or was dropped; whatever ends it, those that wait
for it are woken, and its key is released unless later callers are to find its result here. Owned by `TaskRuns`.
"""

import asyncio
from collections.abc import Mapping
from functools import partial

from agent_node.run.environment import RunEnvironment
from agent_node.settings import NodeSettings
from agent_node.single_flight import SingleFlight
from agent_node.store import StoredTask, TaskRequest, TaskStore
from agent_node.task.ended import EndedTasks
from agent_node.task.held import HeldRuns
from agent_node.task.quota import TaskQuota
from agent_node.task.run import TaskRun
from agent_node.task.runner import TaskRunner
from agent_node.task.unwatched import Unwatched
from agentring.agent import Agent
from agentring.cluster.claim import Claims
from agentring.cluster.clock import Clock
from agentring.errors import AgentRequired, AgentringError, NodeDraining, SessionMoving
from agentring.ids import TaskRef


class TaskStarter:
    """Starts under way, by task, and what is done once their runs are over."""

    def __init__(
        self,
        env: RunEnvironment,
        claims: Claims,
        store: TaskStore,
        agents: Mapping[str, Agent],
        clock: Clock,
        settings: NodeSettings,
        runner: TaskRunner,
        ended: EndedTasks,
        unwatched: Unwatched,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """tasks: owns the starts and the runs."""
        self._env = env
        self._claims = claims
        self._store = store
        self._agents = agents
        self._clock = clock
        self._runner = runner
        self._ended = ended
        self._unwatched = unwatched
        self._tasks = tasks
        self.held = HeldRuns(durable=store.durable)
        self._starts: SingleFlight[TaskRef, TaskRun] = SingleFlight(tasks)
        self._quota = TaskQuota(self.held, self._starts, settings, env.quota)
        self.draining = False
        """Nothing more is begun."""

    def __contains__(self, ref: object) -> bool:
        """Whether this node has a run of the key, or is about to."""
        return ref in self.held or (isinstance(ref, TaskRef) and ref in self._starts)

    def is_starting(self, ref: TaskRef) -> bool:
        """Whether the task's run is being begun."""
        return ref in self._starts

    @property
    def takes_more(self) -> bool:
        """Whether a task that was accepted before can be begun here."""
        return not self.draining and not self._quota.is_full

    def refusal(
        self, ref: TaskRef, agent: str, subject: str = "", size_bytes: int = 0, free: int = 0
    ) -> AgentringError | None:
        """Why no run of the task can be begun here; None: it can, and is counted; `accept` is to follow at once.
        subject, size_bytes: who hands in how much; free: slots that it may run in at once."""
        if not agent:
            return AgentRequired()
        if agent not in self._agents:
            return self._env.missing_agent(agent)
        if (halt := self._env.halts.find(ref, agent)) is not None:
            return halt.error()
        if ref in self._starts:
            return None
        if self.draining:
            return NodeDraining()
        return self._quota.refusal(ref.tenant) or self._quota.accept(ref, subject, size_bytes, free)

    async def accept(self, request: TaskRequest, sent_seq: int) -> TaskRun:
        """Stores the task, unless the store has it, and begins its run: the run, or the one that has ended. sent_seq:
        as TaskRunner.begin. Raises as `resume`, and AgentUnavailable."""
        ref = request.ref
        # Evicted here and not in the start, so that concurrent starts do not count on the same room.
        evicted = self.held.evict_first_ended() if self._quota.is_full and ref not in self._starts else None
        return await self._starts.get(ref, lambda: self._quota.starting(ref, self._accept(request, evicted, sent_seq)))

    async def resume(self, stored: StoredTask, *, to_cancel: bool = False) -> TaskRun:
        """Begins the next run of a task that was accepted before and has not ended. to_cancel: the run ends at once.

        Raises NotOwner, SessionMoving, AgentNotFound, NodeDraining, NodeFenced, CoordinatorUnavailable, StaleEpoch,
        StoreUnavailable. Cancellation: it is begun all the same.
        """
        return await self._starts.get(stored.ref, lambda: self._begin(stored, 0, to_cancel=to_cancel))

    async def release(self, run: TaskRun) -> None:
        """Releases the key of a run that is not held any more."""
        if run.claim is not None:
            await self._runner.release(run.ref, run.claim)

    async def all_started(self) -> None:
        """Returns once nothing is being claimed."""
        await self._starts.all_ended()

    def drop_all(self, error: AgentringError) -> None:
        """Ends every run at once: its streams end with the error, nothing more is stored or published."""
        self.held.drop_all(error)
        self._unwatched.clear()
        self._quota.clear()

    async def _accept(self, request: TaskRequest, evicted: TaskRun | None, sent_seq: int) -> TaskRun:
        if evicted is not None:
            await self.release(evicted)
        stored = await self._store.accept(request)
        return self._ended.restore(stored) if stored.has_ended else await self._begin(stored, sent_seq)

    async def _begin(self, stored: StoredTask, sent_seq: int, *, to_cancel: bool = False) -> TaskRun:
        if stored.agent not in self._agents and not to_cancel:
            await self._claims.disclaim(stored.ref, self.__contains__)
            raise self._env.missing_agent(stored.agent)
        if (known := self.held.get(stored.ref)) is not None:
            return known  # another call has begun it since this one read the store
        run = await self._runner.begin(stored, sent_seq)
        if run is None:
            now = await self._ended.read(stored.ref)
            if not now.has_ended:
                raise SessionMoving
            return self._ended.restore(now)
        if to_cancel:
            run.cancel_reason = "CLIENT"
        elif self.draining:  # the drain has begun since and does not know of this run
            await self._runner.requeue(run)
            await self.release(run)
            raise NodeDraining
        self.held.add(run)
        self._unwatched.add(run)
        self._quota.begin(run)
        run.task = self._tasks.create_task(self._runner.carry_out(run, self._on_end))
        run.task.add_done_callback(partial(self._cut_short, run))
        return run

    def _cut_short(self, run: TaskRun, _: "asyncio.Task[None]") -> None:
        """Whatever ended the run's task, a cancellation by nobody of ours say: those that wait for the run are woken,
        and the next caller or the sweep begins it again."""
        if run.ended.is_set():
            return
        run.drop(SessionMoving())
        cleanup = self._on_end(run)
        try:
            self._tasks.create_task(cleanup)
        except RuntimeError:
            cleanup.close()  # the incarnation ends, and the claim with its lease

    async def _on_end(self, run: TaskRun) -> None:
        """The run has ended or was dropped."""
        self._unwatched.discard(run)
        self._quota.end(run)
        run.forget_at_s = self._clock.now_s() + run.retention_s
        is_result = run.has_ended and not run.begins_anew
        if self.held.end(run, is_result=is_result):
            return
        if is_result:
            self._ended.cache(run)
        await self.release(run)
