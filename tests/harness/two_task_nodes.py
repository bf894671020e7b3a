"""Two nodes that run tasks over one durable store, one of which may die with a task."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent_node.events.whole_log import all_events
from agent_node.store import StoredTask
from agent_node.task.run import TaskRun
from agent_node.task.sweep import TaskSweep
from agentring.ids import NodeId, parse_task
from agentring.v1.session_pb2 import Event
from harness.memberships import node as member
from harness.memberships import snapshot
from harness.sessions import kind_of
from harness.task_nodes import TaskNode, TaskWorld

KEY = parse_task("", "key")


BOUNDARIES = (
    "before accept",
    "after accept",
    "after claim",
    "after start",
    "in the agent",
    "before end",
    "after end",
    "before release",
)


class Two(TaskWorld):
    """Two nodes."""

    def __init__(self, tasks: asyncio.TaskGroup, **settings: float) -> None:
        super().__init__()
        self.one = TaskNode("n1", self, tasks, **settings)
        self.two = TaskNode("n2", self, tasks, **settings)

    async def stored_task(self) -> StoredTask:
        found = await self.stored.read(KEY)
        assert found is not None
        return found

    def sweep(self) -> TaskSweep:
        """The second node's: the ring is its own."""
        two, members = self.two, snapshot(member("n2", agents=("held",)))
        return TaskSweep(
            two.store,
            two.runs,
            lambda: members,
            NodeId("n2"),
            two.clock,
            interval_s=10.0,
            claims_are_made=lambda: True,
        )


@asynccontextmanager
async def two_nodes(**settings: float) -> AsyncIterator[Two]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        nodes = Two(tasks, **settings)
        try:
            yield nodes
        finally:
            for node in (nodes.one, nodes.two):
                node.die()
                node.points.free_all()


def events_of(run: TaskRun) -> list[Event]:
    return all_events(run.log)


def kinds_of(run: TaskRun) -> list[str]:
    return [kind_of(event) for event in events_of(run)]


async def dead_at(nodes: Two, boundary: str) -> asyncio.Event:
    """The first node dies there with the task; what it was about to do goes on once the returned event is set."""
    one = nodes.one
    held = one.points.hold(boundary)
    if boundary != "in the agent":
        one.stage.go.set()
    calling = asyncio.ensure_future(one.run())
    await (one.stage.begun if boundary == "in the agent" else one.points.reached[boundary]).wait()
    one.die()
    calling.cancel()
    await asyncio.wait([calling])
    return held
