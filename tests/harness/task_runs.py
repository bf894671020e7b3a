"""The task runs of one node on a volatile store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from agent_node.run.environment import TurnLimits
from agent_node.run.slots import RunSlots
from agent_node.settings import NodeSettings
from agent_node.store import MemoryTaskStore
from agent_node.task.run import TaskRun
from agent_node.task.runs import TaskRuns
from agentring.errors import (
    NodeFenced,
)
from agentring.ids import parse_task
from agentring.v1 import session_pb2
from agentring.v1.task_pb2 import (
    ON_DUPLICATE_JOIN,
    Disposition,
)
from harness.clock import PATIENCE_S, FakeClock
from harness.premises import FakeClaims, Stage, environment
from harness.read_events import read
from harness.sessions import GRACE_S, kind_of
from harness.stubborn import Stubborn

KEY = parse_task("", "key")


INPUT = session_pb2.Input(text="do it")


class Node:
    """Task runs and all that they stand on."""

    def __init__(self, tasks: asyncio.TaskGroup, tmp_path: Path, **settings: float) -> None:
        self.clock = FakeClock()
        self.claims = FakeClaims()
        self.stage = Stage()
        self.stubborn = Stubborn()
        limits = TurnLimits(PATIENCE_S, 1 << 20, 1 << 16, cancel_grace_s=GRACE_S)
        self.slots = RunSlots(10, 100)
        self.env = replace(environment(self.clock), limits=limits)
        self.runs = TaskRuns(
            self.env,
            self.claims.as_claims,
            MemoryTaskStore(),
            {"held": self.stage.held, "failing": self.stage.failing, "stubborn": self.stubborn.agent},
            self.clock,
            NodeSettings.model_validate({"node_id": "n1", "data_dir": tmp_path, **settings}),
            self.slots,
            tasks,
        )

    async def run(
        self, name: str = "key", agent: str = "held", task_input: session_pb2.Input = INPUT
    ) -> tuple[TaskRun, Disposition.ValueType]:
        return await self.runs.run(parse_task("", name), agent, task_input, 5, ON_DUPLICATE_JOIN)


@asynccontextmanager
async def running(tmp_path: Path, **settings: float) -> AsyncIterator[Node]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        node = Node(tasks, tmp_path, **settings)
        yield node
        node.runs.drop_all(NodeFenced())


def kinds_of(run: TaskRun) -> list[str]:
    """The kinds of its events."""
    seq, kinds = 0, []
    while seq < run.log.head_seq:
        seq, events = read(run.log, seq)
        kinds += [kind_of(event) for event in events]
    return kinds
