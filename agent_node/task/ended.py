"""Tasks that are not under way on this node: those that have ended, from memory or the store, and those left behind.

Guarantees: an ended task is told from its row, on any node, until its retention is over; nothing here claims a key.
Owned by `TaskRuns`.
"""

from agent_node.store import StoredTask, TaskStore
from agent_node.task.replays import EndedTaskCache
from agent_node.task.run import TaskRun, restored
from agentring.cluster.claim import Claims
from agentring.cluster.clock import Clock
from agentring.errors import TaskNotFound
from agentring.ids import TaskRef


class EndedTasks:
    """What the store has, and the latest of it in memory."""

    def __init__(self, store: TaskStore, claims: Claims, clock: Clock) -> None:
        """Nothing is remembered yet."""
        self._store = store
        self._claims = claims
        self._clock = clock
        self._replays = EndedTaskCache()

    def remembered(self, ref: TaskRef) -> TaskRun | None:
        """An ended task, from memory."""
        return self._replays.get(ref, self._clock.now_s())

    def remember(self, run: TaskRun) -> None:
        """A run of this node has ended."""
        self._replays.put(run)

    async def read(self, ref: TaskRef) -> StoredTask:
        """What the store has of a task. Raises TaskNotFound; where the store is volatile and knows nothing, also
        NotOwner and SessionMoving; CoordinatorUnavailable, StoreUnavailable."""
        stored = await self._store.read(ref)
        if stored is None:
            if not self._store.durable:
                await self._claims.raise_if_held_elsewhere(ref)
            raise TaskNotFound
        return stored

    def told_again(self, stored: StoredTask) -> TaskRun:
        """An ended task as its run told it."""
        run = restored(stored)
        left_s = ((stored.expires_ns or 0) - self._store.clock.now().about_ns) / 1e9
        run.forget_at_s = self._clock.now_s() + left_s
        if self._store.durable and not run.begins_anew:
            self._replays.put(run)
        return run
