"""Nodes of one cluster whose tenants have limits: a host of sessions and the runs of tasks, on one quota."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from agent_node.quota.holds import Asking
from agent_node.quota.limits import LimitTable, parse_limits
from agent_node.quota.quota import Quota
from agent_node.quota.refusals import Refusals
from agent_node.quota.share import WHOLE, Share
from agent_node.run.call_terms import CallTerms
from agent_node.run.environment import TurnLimits
from agent_node.run.slots import RunSlots
from agent_node.session.host import Host
from agent_node.session.session import Session
from agent_node.settings import NodeSettings
from agent_node.store import MemoryTaskStore
from agent_node.task.run import TaskRun
from agent_node.task.runs import TaskRuns
from agentring.cluster.lease import FenceReason
from agentring.errors import NodeFenced
from agentring.ids import parse_session, parse_task
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE
from agentring.v1.task_pb2 import ON_DUPLICATE_JOIN
from harness.clock import PATIENCE_S, FakeClock
from harness.premises import FakeClaims, Stage, environment
from harness.sessions import GRACE_S
from harness.stores import RecordingStore

SLOTS = 4


def quota_of(toml: str, *, share: Share = WHOLE, now_s: Callable[[], float] = lambda: 0.0) -> Quota:
    """Counts of one node under these limits."""
    table = parse_limits(toml.encode())
    return Quota(lambda: table, lambda: share, now_s, Refusals())


class LimitedNode:
    """A node, as far as it hosts sessions and runs tasks."""

    def __init__(
        self, tasks: asyncio.TaskGroup, directory: Path, toml: str, share: Share = WHOLE, slots: int = SLOTS
    ) -> None:
        self.clock = FakeClock()
        self.claims = FakeClaims()
        self.stage = Stage()
        self.table: LimitTable = parse_limits(toml.encode())
        self.refusals = Refusals()
        self.quota = Quota(lambda: self.table, lambda: share, self.clock.now_s, self.refusals)
        limits = TurnLimits(PATIENCE_S, 1 << 20, 1 << 16, cancel_grace_s=GRACE_S)
        env = replace(environment(self.clock), limits=limits, quota=self.quota)
        self.lease = env.lease
        self.slots = RunSlots(slots, 100, self.quota)
        self.store = RecordingStore()
        agents = {"held": self.stage.held, "failing": self.stage.failing}
        settings = NodeSettings.model_validate({"node_id": "n1", "data_dir": directory})
        self.host = Host(
            env, self.claims.as_claims, self.store, agents, self.clock, settings, self.slots, tasks, self._admit
        )
        self.runs = TaskRuns(
            env, self.claims.as_claims, MemoryTaskStore(), agents, self.clock, settings, self.slots, tasks
        )

    async def _admit(self, _sessions: Callable[[], int], _agent: str) -> bool:
        await asyncio.sleep(0)
        return True

    async def turn(
        self,
        session_id: str,
        turn_id: str,
        *,
        tenant: str = "",
        subject: str = "",
        agent: str = "held",
        on_busy: session_pb2.OnBusy.ValueType = ON_BUSY_ENQUEUE,
    ) -> Session:
        """Opens the session and hands a turn in. Raises QuotaExceeded."""
        session = await self.host.open(parse_session(tenant, session_id), agent, Asking(subject))
        await session.submit(turn_id, session_pb2.Input(text="hi"), on_busy, terms=CallTerms(subject=subject))
        return session

    async def task(self, key: str, *, tenant: str = "", subject: str = "", agent: str = "held") -> TaskRun:
        """Hands a task in. Raises QuotaExceeded."""
        run, _ = await self.runs.run(
            parse_task(tenant, key),
            agent,
            session_pb2.Input(text="hi"),
            60,
            ON_DUPLICATE_JOIN,
            terms=CallTerms(subject=subject),
        )
        return run

    def limit(self, toml: str) -> None:
        """Other limits are in use, as when the file has changed."""
        self.table = parse_limits(toml.encode())
        self.slots.grant_free()

    def fence(self) -> None:
        self.lease.fence(FenceReason.REVOKED)
        self.host.drop_all(NodeFenced())
        self.runs.drop_all(NodeFenced())


async def at_last(holds: Callable[[], bool], rounds: int = 10_000) -> None:
    """Returns once it holds, within so many rounds of the event loop."""
    for _ in range(rounds):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"it does not hold after {rounds} rounds")


@asynccontextmanager
async def limited(
    directory: Path, toml: str, weights: Sequence[int] = (1,), slots: int = SLOTS
) -> AsyncIterator[list[LimitedNode]]:
    """One node for each weight."""
    total = sum(weights)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        shares = [Share(sum(weights[:index]), weight, total) for index, weight in enumerate(weights)]
        nodes = [LimitedNode(tasks, directory, toml, share, slots) for share in shares]
        yield nodes
        for node in nodes:
            node.fence()
