"""Mutations of what protects tasks; as mutations.py, which puts them together."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam

from agent_node.events.log import EventLog
from agent_node.run import agent_run as turn
from agent_node.run.environment import RunEnvironment
from agent_node.run.run_input import TurnInput
from agent_node.session import turn_loop
from agent_node.store.clock import Moment
from agent_node.store.once_records import StoredRun
from agent_node.store.sql import task_transactions
from agent_node.store.sql.hot_statement import HotStatement
from agent_node.store.sql.task_schema import tasks
from agent_node.task import runner as task_runner
from agent_node.task.sweep import TaskSweep
from agentring.agent import Agent
from agentring.cluster.claim import Claim, Claims
from agentring.errors import NotOwner
from agentring.ids import Epoch, SessionRef, TaskRef
from robustness.chaos.failpoints.failpoints import in_task, replace


def no_task_compare(trigger: Path) -> None:
    """The store takes a task's end whatever epoch the task has by now, and though it has ended."""
    in_task(trigger)
    any_epoch = (tasks.c.epoch == bindparam("k_epoch")) | (tasks.c.epoch != bindparam("k_epoch"))
    blind = task_transactions._END.statement.where()
    blind._where_criteria = (task_transactions._OF_TASK & any_epoch,)
    replace(task_transactions, "_END", HotStatement(blind))


def no_task_claims(_: Path) -> None:
    """A node takes a task's key whoever has it."""
    claim = Claims.claim

    async def taken(self: Claims, ref: SessionRef | TaskRef) -> Claim:
        try:
            return await claim(self, ref)
        except NotOwner:
            held = await self._read(ref)
            if not isinstance(ref, TaskRef) or held is None:
                raise
            await self._delete(ref, held.mod_revision)
            return await claim(self, ref)

    replace(Claims, "claim", taken)


def no_memory_of_ends(_: Path) -> None:
    """A task that has ended begins anew for whoever asks, however fresh its result is."""
    anew = task_transactions._BEGIN_ANEW.statement.where()
    anew._where_criteria = (task_transactions._OF_TASK, tasks.c.ended_ns.is_not(None))
    replace(task_transactions, "_BEGIN_ANEW", HotStatement(anew))


def no_task_sweep(_: Path) -> None:
    """Nobody looks for tasks that were left."""

    async def nothing(_: TaskSweep) -> None:
        """Takes nothing up."""

    replace(TaskSweep, "sweep", nothing)


def no_memory_of_steps(_: Path) -> None:
    """A step that has a result is run again for whoever asks."""

    def stands(_row: StoredRun, _failure_s: float, _now: Moment, *, idempotent: bool) -> bool:
        """Never."""
        return False

    replace(StoredRun, "stands", stands)


def nothing_runs_in_a_child(_: Path) -> None:
    """What ended a node is run as everything else."""

    async def run(env: RunEnvironment, agent: Agent, turn_input: TurnInput, log: EventLog, epoch: Epoch) -> Any:
        return await turn.run_agent(env, agent, dataclasses.replace(turn_input, deaths=0), log, epoch)

    for module in (turn_loop, task_runner):
        replace(module, "run_agent", run)


TASK_MUTATIONS: dict[str, Callable[[Path], None]] = {
    "no-task-compare": no_task_compare,
    "no-task-claims": no_task_claims,
    "no-memory-of-ends": no_memory_of_ends,
    "no-task-sweep": no_task_sweep,
    "no-memory-of-steps": no_memory_of_steps,
    "nothing-apart": nothing_runs_in_a_child,
}
