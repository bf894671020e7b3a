"""One node of a test, from its start to its death: a node's real sessions, task runs, steps and `once`, on premises in
the process.

Guarantees: whatever is done on it is done in its life, and is over with it; who waits for it is woken by its death.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar

from agent_node.agents.lifespans import OpenedAgent
from agent_node.audit import NoAuditLog
from agent_node.once.keys import OnceKeys
from agent_node.once.limits import OnceLimits
from agent_node.once.steps import Once
from agent_node.run.environment import RunEnvironment, TurnLimits, owner_name
from agent_node.run.slots import RunSlots
from agent_node.session.host import Host
from agent_node.settings import NodeSettings
from agent_node.step.recorder import StepRecorder
from agent_node.task.runs import TaskRuns
from agentring.agent import Agent
from agentring.cluster.lease import FenceReason
from agentring.errors import NodeFenced
from agentring.ids import Incarnation, NodeId
from agentring.testing.errors import NodeDied
from agentring.testing.life import LIFE, Life
from agentring.testing.premises import Premises
from agentring.testing.step_log import StepLog, WatchedSteps

T = TypeVar("T")

_SETTINGS = NodeSettings.model_construct(node_id="test", data_dir=Path())
_GRACE_S = 1.0
"""How long an agent may take to end when the test does."""
STEP_WAIT_S = 1.0
"""As TurnLimits.step_wait_s: how soon it is taken for certain that an attempt goes another way."""
_RUNS = 1_000


class Node:
    """At work from `begin` to `close`, or to its death."""

    def __init__(
        self,
        premises: Premises,
        agents: dict[str, Agent],
        life: Life,
        step_logs: Mapping[str, StepLog],
        opened: Mapping[str, OpenedAgent],
    ) -> None:
        """step_logs: by run; a run's is made when it is asked for; opened: as RunEnvironment.opened."""
        self._opened = opened
        self.life = life
        self.premises = premises
        self._step_logs = step_logs
        self._agents = agents
        self._lease = premises.lease()
        self._ready = asyncio.Event()
        self._context = copy_context()
        self._context.run(LIFE.set, self.life)
        self._main: asyncio.Task[None] | None = None
        self.host: Host
        self.task_runs: TaskRuns
        self._once: OnceKeys

    async def begin(self) -> None:
        """It is at work when this returns."""
        self._main = asyncio.get_running_loop().create_task(self._work(), context=self._context)
        await self._ready.wait()

    async def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Does something on the node. Raises NodeDied."""
        if self.life.is_over:
            raise NodeDied
        task = asyncio.get_running_loop().create_task(work(), context=self._context.copy())
        await self.until_done(task)
        return task.result()

    async def until_done(self, task: "asyncio.Future[Any]") -> None:
        """Returns when a task is done that the node carries out. Raises NodeDied. Cancellation: it is cancelled."""
        died = asyncio.ensure_future(self.life.died.wait())
        try:
            await asyncio.wait([task, died], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            died.cancel()
        if not task.done():
            raise NodeDied

    async def close(self) -> None:
        """Ends it, and what a death has left of it; agents clean up now."""
        self._lease.fence(FenceReason.REVOKED)
        if self._ready.is_set():
            self.host.drop_all(NodeFenced())
            self.task_runs.drop_all(NodeFenced())
            self._once.drop_all()
        if self._main is not None:
            await self.life.tidy_up(self._main, 2 * _GRACE_S)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._make(tasks)
            self._ready.set()
            await asyncio.get_running_loop().create_future()  # until it is cancelled

    def _make(self, tasks: asyncio.TaskGroup) -> None:
        premises, settings = self.premises, _SETTINGS
        clock, claims, node_id = premises.clock, premises.claims, NodeId(f"test-{self.life.number}")
        audit, incarnation = NoAuditLog(), Incarnation(self.life.number)
        limits = OnceLimits(
            settings.max_once_keys, settings.max_once_result_bytes, settings.once_retention_s, settings.once_failure_s
        )
        owner, store = owner_name(node_id, incarnation), premises.sessions
        self._once = OnceKeys(self._lease, audit, claims, store.once, clock, owner, limits, tasks)
        turn_limits = TurnLimits(
            settings.turn_timeout_s,
            settings.max_text_bytes,
            settings.max_state_bytes,
            cancel_grace_s=_GRACE_S,
            step_wait_s=STEP_WAIT_S,
        )
        env = RunEnvironment(
            node_id,
            self._lease,
            audit,
            turn_limits,
            incarnation,
            Once(self._once, self._lease, premises.other_nodes),
            clock=clock,
            opened=self._opened,
            watch_steps=self._watch,
        )
        slots = RunSlots(_RUNS, _RUNS)
        self.host = Host(env, claims, store, self._agents, clock, settings, slots, tasks, _takes_all)
        self.task_runs = TaskRuns(env, claims, premises.tasks, self._agents, clock, settings, slots, tasks)

    def _watch(self, recorder: StepRecorder) -> StepRecorder:
        return WatchedSteps(recorder, self._step_logs[recorder.life_id], self.life)


async def _takes_all(sessions: Callable[[], int], agent: str) -> bool:
    return True
