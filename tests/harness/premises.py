"""What sessions and task runs stand on, made up: a lease on a clock of the test's, claims in memory, plain agents."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from agent_node.audit import NoAuditLog
from agent_node.run.environment import RunEnvironment, TurnLimits
from agentring.agent import AgentEvent, Context, Result
from agentring.cluster.claim import Claim, Claims
from agentring.cluster.lease import Lease
from agentring.errors import AgentringError
from agentring.ids import Epoch, Incarnation, NodeId, Revision, SessionRef, TaskRef
from harness.clock import FakeClock

TTL_S = 10


def lease_on(clock: FakeClock) -> Lease:
    """A lease that nobody renews: it is fenced once the clock has moved by TTL_S - 2 s."""
    return Lease(cast(Any, None), clock, 1, TTL_S, clock.now_s())


def environment(clock: FakeClock, *, timeout_s: float = 20.0) -> RunEnvironment:
    """Of a node `n1`."""
    return RunEnvironment(
        NodeId("n1"), lease_on(clock), NoAuditLog(), TurnLimits(timeout_s, 1 << 20, 1 << 16), Incarnation(1)
    )


class FakeClaims:
    """Claims that succeed, each with a higher epoch, or fail as the test says."""

    def __init__(self) -> None:
        self.revision = 0
        self.claimed: list[SessionRef | TaskRef] = []
        self.released: list[Claim] = []
        self.disclaimed: list[SessionRef | TaskRef] = []
        self.claim_error: AgentringError | None = None
        self.release_error: AgentringError | None = None
        self.held_elsewhere: AgentringError | None = None
        self.go = asyncio.Event()
        """Cleared: claims and looks wait until it is set."""
        self.go.set()
        self.asked = asyncio.Event()
        """Set once a claim or a look has begun."""
        self.gave_back = asyncio.Event()
        """Set once a claim was released."""

    @property
    def as_claims(self) -> Claims:
        return cast(Claims, self)

    async def claim(self, ref: SessionRef | TaskRef) -> Claim:
        self.asked.set()
        await asyncio.sleep(0)
        await self.go.wait()
        self.claimed.append(ref)
        if self.claim_error is not None:
            raise self.claim_error
        self.revision += 1
        return Claim(ref, Epoch(self.revision), Revision(self.revision))

    async def release(self, claim: Claim) -> bool:
        await asyncio.sleep(0)
        if self.release_error is not None:
            raise self.release_error
        self.released.append(claim)
        self.gave_back.set()
        return True

    async def raise_if_held_elsewhere(self, _ref: SessionRef | TaskRef) -> None:
        self.asked.set()
        await asyncio.sleep(0)
        await self.go.wait()
        if self.held_elsewhere is not None:
            raise self.held_elsewhere

    async def disclaim(self, ref: SessionRef | TaskRef, in_use: Callable[[SessionRef | TaskRef], bool]) -> None:
        await self.raise_if_held_elsewhere(ref)
        if not in_use(ref):
            self.disclaimed.append(ref)

    async def sweep(self, in_use: Callable[[SessionRef | TaskRef], bool]) -> int:
        return 0


class Stage:
    """Agents that the test leads: `held` waits until the test lets it go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.runs = 0

    async def held(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        """Says "begun", waits, counts in the state, says "done"."""
        self.runs += 1
        yield "begun "
        self.begun.set()
        await self.go.wait()
        ctx.state["turns"] = ctx.state.get("turns", 0) + 1
        yield "done"
        yield Result({"turns": ctx.state["turns"]})

    async def failing(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        """Changes the state, then raises."""
        ctx.state["turns"] = -1
        yield "some words"
        raise RuntimeError("not for clients")
