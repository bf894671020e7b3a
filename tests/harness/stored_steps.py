"""Runs of which a store keeps steps, a session's turn and a task, and rows of such steps."""

from dataclasses import dataclass, replace
from typing import Protocol

from agent_node.store import Ownership, Store, TaskEnd, TaskRequest, TaskStore
from agent_node.store.step_records import RunOwnership, StepState, StoredStep
from agent_node.store.step_store import StepStore
from agent_node.store.storage_records import session_scope, task_scope
from agent_node.store.storage_store import StorageStore
from agentring.ids import SessionRef, TaskRef, parse_session, parse_task
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import TURN_STATE_RUNNING
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED
from harness.stored_turns import accepted, completed, epoch

SESSION, TASK = parse_session("", "s"), parse_task("", "k")
LIFE = "life-1"


class StoresByKey(Protocol):
    """A Store, or a TaskStore."""

    @property
    def storage(self) -> StorageStore:
        """Of its runs."""


class OwnedRun(Protocol):
    """A run, whichever it is of, in one store."""

    @property
    def store(self) -> StoresByKey:
        """Where it is."""

    @property
    def steps(self) -> StepStore:
        """Of the store."""

    async def take(self, revision: int, owner: str = "n1/1") -> RunOwnership:
        """The incarnation owns the run from now on."""

    async def end(self, run: RunOwnership, *, with_steps: bool = True) -> int:
        """The run ends; the commit number."""


@dataclass
class OwnedTurn:
    """A session's turn, which its first owner accepts."""

    store: Store
    is_accepted: bool = False

    @property
    def steps(self) -> StepStore:
        """As OwnedRun."""
        return self.store.steps

    async def take(self, revision: int, owner: str = "n1/1") -> RunOwnership:
        """As OwnedRun."""
        ownership = Ownership(SESSION, epoch(revision), owner)
        session = await self.store.activate(ownership, "agent")
        if not self.is_accepted:
            self.is_accepted = True
            await self.store.accept_turn(ownership, replace(accepted(1), state=TURN_STATE_RUNNING), None)
        storage = session_scope(SESSION, session.created_ns)
        return RunOwnership(SESSION, ownership.epoch, owner, LIFE, "t1", storage)

    async def end(self, run: RunOwnership, *, with_steps: bool = True) -> int:
        """As OwnedRun."""
        commit = completed(accepted(1))
        ended = replace(commit, turn=replace(commit.turn, may_have_steps=with_steps))
        assert isinstance(run.ref, SessionRef)
        return await self.store.commit_turn(Ownership(run.ref, run.epoch, run.owner), ended)


@dataclass
class OwnedTask:
    """A task, which is there once it has an owner."""

    store: TaskStore

    @property
    def steps(self) -> StepStore:
        """As OwnedRun."""
        return self.store.steps

    async def take(self, revision: int, owner: str = "n1/1") -> RunOwnership:
        """As OwnedRun."""
        await self.store.accept(TaskRequest(TASK, "agent", b"f" * 32, b"", 60.0, False, LIFE))
        started = await self.store.start(TASK, epoch(revision), owner)
        assert started is not None
        storage = task_scope(TASK.tenant, started.life_id)
        return RunOwnership(TASK, epoch(revision), owner, started.life_id, storage=storage)

    async def end(self, run: RunOwnership, *, with_steps: bool = True) -> int:
        """As OwnedRun."""
        outcome = session_pb2.Event(seq=9, attempt=1).SerializeToString()
        life_id = run.life_id if with_steps else ""
        assert isinstance(run.ref, TaskRef)
        ended = TaskEnd(TASK_STATE_COMPLETED, outcome, b"", None, life_id=life_id)
        return await self.store.end(run.ref, run.epoch, ended)


def row(ordinal: int, state: StepState = StepState.COMPLETED, *, attempt: int = 1) -> StoredStep:
    """A step of its own."""
    value = f'"{ordinal}"'.encode()
    step_id = ordinal.to_bytes(16, "big")
    return StoredStep(ordinal, step_id, b"", f"step {ordinal}", attempt, state, value=value, size_bytes=len(value))


async def all_rows(run: OwnedRun, owned: RunOwnership) -> list[StoredStep]:
    """Of the run's life."""
    return list(await run.steps.read(owned.life, 0))
