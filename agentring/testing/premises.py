"""What a node stands on, in the test's process: claims, a lease, a store, other nodes to wait for.

Guarantees: they outlive a node that dies, as etcd and a database do: the next one gets a higher epoch, and finds what
was stored. Nothing leaves the process, and nothing outlives the test.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, cast

from agent_node.once.steps import RunWatcher
from agent_node.store import MemoryStore, MemoryTaskStore, Ownership, Store, StoredSession, StoredTurn, TurnCommit
from agent_node.store.clock import StoreClock, VolatileClock
from agent_node.store.memory.once import MemoryOnceStore
from agent_node.store.once_records import Ending
from agent_node.store.session_records import EventRow
from agent_node.store.task_records import TaskEnd
from agent_node.store.task_store import TaskStore
from agentring.agent import PastTurn
from agentring.cluster.claim import Claim, Claims
from agentring.cluster.lease import Lease
from agentring.ids import Epoch, OnceRef, Revision, SessionRef, TaskRef
from agentring.rpc.channel import NodeAt
from agentring.testing.clock import TestClock
from agentring.testing.life import LIFE
from agentring.v1 import session_pb2

_MOST_PAST_TURNS = 100
_LEASE_S = 10


class _Claims:
    """Every claim succeeds, with an epoch higher than all before."""

    def __init__(self) -> None:
        self._revision = 0

    async def claim(self, ref: SessionRef | TaskRef) -> Claim:
        self._revision += 1
        return Claim(ref, Epoch(self._revision), Revision(self._revision))

    async def release(self, claim: Claim) -> bool:
        return True

    async def raise_if_held_elsewhere(self, ref: SessionRef | TaskRef) -> None:
        """There is no other node."""

    async def disclaim(self, ref: SessionRef | TaskRef, in_use: Callable[[SessionRef | TaskRef], bool]) -> None:
        """There is no other node."""


class _NoOtherNode:
    """A RunWatcher."""

    async def watch(self, ref: OnceRef, node: NodeAt, held: Collection[OnceRef]) -> Ending | None:
        return None


class _StillClock:
    """Of leases, which do not expire in a test."""

    def now_s(self) -> float:
        return 0.0

    async def sleep(self, duration_s: float) -> None:
        raise AssertionError


class _Sessions:
    """A Store that says it is durable, and is as long as the test; a node may die before the end of a turn is stored.
    Not a class derived from MemoryStore, which is compiled where there is a compiler."""

    durable = True
    waits = False

    def __init__(self, memory: MemoryStore, clock: StoreClock) -> None:
        self._memory = memory
        self.once = _Once(clock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    async def activate(self, ownership: Ownership, agent: str) -> StoredSession:
        """Its owner before was lost, as every node here that is not at work any more."""
        return replace(await self._memory.activate(ownership, agent), was_released=False)

    async def read(self, ref: SessionRef) -> StoredSession | None:
        return self._memory._sessions.get(ref)

    async def commit_turn(
        self,
        ownership: Ownership,
        commit: TurnCommit,
        renumbered: Sequence[StoredTurn] = (),
        events: Sequence[EventRow] = (),
    ) -> int:
        await _before_end()
        return await self._memory.commit_turn(ownership, commit, renumbered, events)


class _Tasks(MemoryTaskStore):
    """As _Sessions, of tasks."""

    durable = True

    async def end(self, ref: TaskRef, epoch: Epoch, end: TaskEnd) -> int:
        await _before_end()
        return await super().end(ref, epoch, end)

    async def forget_volatile(self, ref: TaskRef) -> None:
        """It is durable."""


class _Once(MemoryOnceStore):
    """As _Sessions, of `ctx.once`."""

    durable = True


class Premises:
    """Of the nodes of one test."""

    def __init__(self, clock: TestClock) -> None:
        self.clock = clock
        self.claims = cast(Claims, _Claims())
        store_clock = VolatileClock(clock)
        self._memory = MemoryStore(max_history_turns=_MOST_PAST_TURNS, clock=store_clock)
        self.sessions = cast(Store, _Sessions(self._memory, store_clock))
        self.tasks: TaskStore = _Tasks(store_clock)
        self.other_nodes: RunWatcher = _NoOtherNode()

    def lease(self) -> Lease:
        """One that nobody need renew."""
        return Lease(cast(Any, None), _StillClock(), 1, _LEASE_S, 0.0)

    async def expire(self) -> None:
        """Removes what has had its time, as nodes do now and then."""
        await self.sessions.once.expire_ended()
        await self.tasks.expire_ended()

    async def add_session(self, ref: SessionRef, agent: str, state_json: str, past: Sequence[PastTurn]) -> None:
        """A session that has this state, after these turns. It has no owner that lives."""
        claim = await self.claims.claim(ref)
        ownership = Ownership(ref, claim.epoch, "before/1")
        await self._memory.activate(ownership, agent)
        for number, turn in enumerate(past or (PastTurn("", ""),), 1):
            raw = session_pb2.Input(text=turn.input_text).SerializeToString()
            stored = StoredTurn(f"before-{number}", b"", number, raw, session_pb2.TURN_STATE_RUNNING, 1, number)
            await self._memory.accept_turn(ownership, stored, None)
            ended = stored.ended(session_pb2.TURN_STATE_COMPLETED, number, b"")
            await self._memory.commit_turn(ownership, TurnCommit(ended, state_json, turn))
        if not past:
            record = self._memory._sessions[ref]
            record.history, record.turns_completed = (), 0


async def _before_end() -> None:
    if (life := LIFE.get()) is not None:
        await life.pass_point("end", lambda: "when the agent had ended, before its end was stored")
