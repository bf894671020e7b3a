"""Tasks that have ended: read from the store and, the latest of them, from memory.

Guarantees: an ended task is replayed from its row, on any node, until its retention is over; nothing here claims a key.
An ended task does not change while its outcome stands, so what is in memory needs no claim: a burst of late callers
reads the store once. Owned by `TaskRuns`.
"""

from collections import OrderedDict

from agent_node.run.outcome import Completed
from agent_node.store import StoredTask, TaskStore
from agent_node.task.run import TaskRun, restored
from agentring.cluster.claim import Claims
from agentring.cluster.clock import Clock
from agentring.errors import TaskNotFound
from agentring.ids import TaskRef

MAX_BYTES = 64 << 20
_RUN_BYTES = 2 << 10
"""What a run takes beside its events."""


class EndedTaskCache:
    """Ended runs by task. None is kept beyond its retention, nor all together beyond a bound; the ones that were asked
    for last stay."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """max_bytes: about how much memory they may take."""
        self._runs: OrderedDict[TaskRef, TaskRun] = OrderedDict()
        self._max_bytes = max_bytes
        self._bytes = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._runs)

    def get(self, ref: TaskRef, now_s: float) -> TaskRun | None:
        """The ended task; None: it is not here, or its retention is over."""
        run = self._runs.get(ref)
        if run is None:
            return None
        if run.forget_at_s is not None and run.forget_at_s <= now_s:
            self._discard(ref)
            return None
        self._runs.move_to_end(ref)
        return run

    def put(self, run: TaskRun) -> None:
        """Keeps one, and discards those that were not asked for in the longest time."""
        self._discard(run.ref)
        self._runs[run.ref] = run
        self._bytes += _size_bytes(run)
        while self._bytes > self._max_bytes:
            self._discard(next(iter(self._runs)))

    def _discard(self, ref: TaskRef) -> None:
        if (run := self._runs.pop(ref, None)) is not None:
            self._bytes -= _size_bytes(run)


class EndedTasks:
    """What the store has, and the latest of it in memory."""

    def __init__(self, store: TaskStore, claims: Claims, clock: Clock) -> None:
        """Nothing is in memory yet."""
        self._store = store
        self._claims = claims
        self._clock = clock
        self._cache = EndedTaskCache()

    def cached(self, ref: TaskRef) -> TaskRun | None:
        """An ended task, from memory."""
        return self._cache.get(ref, self._clock.now_s())

    def cache(self, run: TaskRun) -> None:
        """Keeps a run of this node that has ended."""
        self._cache.put(run)

    async def read(self, ref: TaskRef) -> StoredTask:
        """What the store has of a task. Raises TaskNotFound; where the store is volatile and knows nothing, also
        NotOwner and SessionMoving; CoordinatorUnavailable, StoreUnavailable."""
        stored = await self._store.read(ref)
        if stored is None:
            if not self._store.durable:
                await self._claims.raise_if_held_elsewhere(ref)
            raise TaskNotFound
        return stored

    def restore(self, stored: StoredTask) -> TaskRun:
        """An ended task, with the events that its run published."""
        run = restored(stored)
        left_s = ((stored.expires_ns or 0) - self._store.clock.now().about_ns) / 1e9
        run.forget_at_s = self._clock.now_s() + left_s
        if self._store.durable and not run.begins_anew:
            self._cache.put(run)
        return run


def _size_bytes(run: TaskRun) -> int:
    text_bytes = run.outcome.text_bytes if isinstance(run.outcome, Completed) else 0
    return run.log.size_bytes + text_bytes + _RUN_BYTES
