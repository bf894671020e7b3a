"""Two nodes' task runs over one durable store, without processes: a node stands still where the test says, and dies."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

from agent_node.run.environment import RunEnvironment, TurnLimits
from agent_node.run.slots import RunSlots
from agent_node.settings import NodeSettings
from agent_node.store import (
    ListedTask,
    MemoryTaskStore,
    OpenTask,
    StoredTask,
    TaskEnd,
    TaskFilter,
    TaskRequest,
)
from agent_node.task.run import TaskRun
from agent_node.task.runs import TaskRuns
from agentring.agent import Agent, AgentEvent, Context
from agentring.cluster.claim import Claim, Claims
from agentring.errors import NodeFenced, NotOwner
from agentring.ids import Epoch, Incarnation, NodeId, Revision, TaskKey, TaskRef, TenantId, parse_task
from agentring.v1 import session_pb2
from agentring.v1.task_pb2 import ON_DUPLICATE_JOIN, Disposition, OnDuplicate
from harness.clock import PATIENCE_S, FakeClock
from harness.premises import TTL_S, Stage, lease_on
from harness.sessions import GRACE_S, ListedAudit

T = TypeVar("T")

INPUT = session_pb2.Input(text="do it")


class Points:
    """Where a node stands still. A point is `before` or `after`, and the name of what is done there."""

    def __init__(self) -> None:
        self.reached: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.errors: dict[str, Exception] = {}
        """By point: what is raised there, once."""
        self._held: dict[str, asyncio.Event] = {}

    def hold(self, point: str) -> asyncio.Event:
        """Whoever comes there waits until the returned event is set."""
        self._held[point] = asyncio.Event()
        return self._held[point]

    def free_all(self) -> None:
        """Nobody waits any more."""
        for held in self._held.values():
            held.set()

    async def passing(self, name: str, step: Callable[[], Awaitable[T]]) -> T:
        await self._pass(f"before {name}")
        done = await step()
        await self._pass(f"after {name}")
        return done

    async def _pass(self, point: str) -> None:
        self.reached[point].set()
        await asyncio.sleep(0)
        if (held := self._held.get(point)) is not None:
            await held.wait()
        if (error := self.errors.pop(point, None)) is not None:
            raise error


class SharedStore:
    """One node's way to a store that outlives it."""

    durable = True

    def __init__(self, tasks: MemoryTaskStore, points: Points) -> None:
        self.tasks = tasks
        self.clock = tasks.clock
        self.steps = tasks.steps
        self.storage = tasks.storage
        self._points = points

    async def accept(self, request: TaskRequest) -> StoredTask:
        return await self._points.passing("accept", lambda: self.tasks.accept(request))

    async def start(self, ref: TaskRef, epoch: Epoch, owner: str) -> StoredTask | None:
        return await self._points.passing("start", lambda: self.tasks.start(ref, epoch, owner))

    async def assert_owned(self, ref: TaskRef, epoch: Epoch) -> int:
        return await self._points.passing("assert_owned", lambda: self.tasks.assert_owned(ref, epoch))

    async def end(self, ref: TaskRef, epoch: Epoch, end: TaskEnd) -> int:
        return await self._points.passing("end", lambda: self.tasks.end(ref, epoch, end))

    async def requeue(self, ref: TaskRef, epoch: Epoch) -> None:
        await self._points.passing("requeue", lambda: self.tasks.requeue(ref, epoch))

    async def read(self, ref: TaskRef) -> StoredTask | None:
        return await self.tasks.read(ref)

    async def list_tasks(self, tenant: TenantId, which: TaskFilter, after: TaskKey, at_most: int) -> list[ListedTask]:
        return await self.tasks.list_tasks(tenant, which, after, at_most)

    async def list_open(self, after: TaskRef | None, at_most: int) -> Sequence[OpenTask]:
        return await self.tasks.list_open(after, at_most)

    async def forget_volatile(self, ref: TaskRef) -> None:
        """It keeps everything."""

    async def expire_ended(self) -> int:
        return await self.tasks.expire_ended()


class SharedClaims:
    """The keys of all nodes."""

    def __init__(self) -> None:
        self.revision = 0
        self.held: dict[TaskRef, tuple[str, Claim]] = {}

    def free(self, name: str) -> None:
        """The node's lease has run out."""
        self.held = {ref: (by, claim) for ref, (by, claim) in self.held.items() if by != name}


class NodeClaims:
    """One node's way to them."""

    def __init__(self, name: str, shared: SharedClaims, points: Points) -> None:
        self._name = name
        self._shared = shared
        self._points = points

    async def claim(self, ref: TaskRef) -> Claim:
        return await self._points.passing("claim", lambda: self._claim(ref))

    async def _claim(self, ref: TaskRef) -> Claim:
        await self.raise_if_held_elsewhere(ref)
        self._shared.revision += 1
        claim = Claim(ref, Epoch(self._shared.revision), Revision(self._shared.revision))
        self._shared.held[ref] = self._name, claim
        return claim

    async def release(self, claim: Claim) -> bool:
        return await self._points.passing("release", lambda: self._release(claim))

    async def _release(self, claim: Claim) -> bool:
        if self._shared.held.get(cast(TaskRef, claim.ref), ("", None))[1] != claim:
            return False
        del self._shared.held[cast(TaskRef, claim.ref)]
        return True

    async def raise_if_held_elsewhere(self, ref: TaskRef) -> None:
        by, claim = self._shared.held.get(ref, (self._name, None))
        if by != self._name and claim is not None:
            raise NotOwner(by, f"{by}:1", claim.epoch)

    async def disclaim(self, ref: TaskRef, in_use: Callable[[TaskRef], bool]) -> None:
        await self.raise_if_held_elsewhere(ref)


class TaskNode:
    """A node's task runs."""

    def __init__(self, name: str, world: "TaskWorld", tasks: asyncio.TaskGroup, **settings: float) -> None:
        self.name = name
        self.points = Points()
        self.clock = FakeClock()
        self.audit = ListedAudit()
        self.stage = Stage()
        self.store = SharedStore(world.stored, self.points)
        self._claims = world.claims
        self.agents: dict[str, Agent] = {
            "held": self.stage.held,
            "failing": self.stage.failing,
            "tooling": self._tooling,
        }
        limits = TurnLimits(PATIENCE_S, 1 << 20, 1 << 16, max_attempts=3, cancel_grace_s=GRACE_S)
        env = RunEnvironment(NodeId(name), lease_on(self.clock), self.audit, limits, Incarnation(1))
        self.runs = TaskRuns(
            env,
            cast(Claims, NodeClaims(name, world.claims, self.points)),
            self.store,
            self.agents,
            self.clock,
            NodeSettings.model_validate({"node_id": name, "data_dir": Path("unused"), **settings}),
            RunSlots(10, 100),
            tasks,
        )

    async def _tooling(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        """Waits, calls a tool, says so."""
        await self.stage.go.wait()
        await ctx.tool("sleep", asyncio.sleep, delay=0)
        yield "done"

    async def run(
        self,
        key: str = "key",
        agent: str = "held",
        on_duplicate: OnDuplicate.ValueType = ON_DUPLICATE_JOIN,
        task_input: session_pb2.Input = INPUT,
        *,
        cancel_when_unwatched: bool = False,
        tenant: str = "",
    ) -> tuple[TaskRun, Disposition.ValueType]:
        ref = parse_task(tenant, key)
        return await self.runs.run(
            ref, agent, task_input, 60, on_duplicate, cancel_when_unwatched=cancel_when_unwatched
        )

    def die(self) -> None:
        """Its lease has run out, and it has noticed; what it has under way at the store may still land."""
        self.clock.advance(TTL_S)
        self.runs.drop_all(NodeFenced())
        self._claims.free(self.name)

    def audited(self, *events: str) -> list[str]:
        return [event for event, _ in self.audit.lines if event in events]


class TaskWorld:
    """What the nodes share."""

    def __init__(self) -> None:
        self.stored = MemoryTaskStore()
        self.claims = SharedClaims()
