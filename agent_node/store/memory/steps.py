"""The volatile store of steps: in the process, so it helps only an attempt on the node that holds the claim."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from agent_node.store.memory.storage import MemoryStorageStore
from agent_node.store.published import Published
from agent_node.store.session_records import EventRow, Publication
from agent_node.store.step_records import PAGE_ROWS, BlobChunk, Life, RunOwnership, StepState, StoredStep
from agent_node.store.storage_counts import STORAGE
from agent_node.store.storage_records import StorageWrite, task_scope


class MemoryStepStore:
    """A StepStore of one node alone."""

    def __init__(self, count: Callable[[RunOwnership, Publication | None], int]) -> None:
        """count: counts a write of the session or task, and returns its number; raises StaleEpoch where the caller does
        not own the run, or that has ended."""
        self._count = count
        self._rows: dict[Life, list[StoredStep]] = {}
        self._chunks: dict[Life, dict[tuple[bytes, int], bytes]] = {}
        self.storage = MemoryStorageStore()
        """What the runs have stored by key."""

    async def keep(
        self,
        run: RunOwnership,
        steps: Sequence[StoredStep],
        storage: Sequence[StorageWrite] = (),
        publication: Publication | None = None,
    ) -> int:
        """As StepStore."""
        commit = self._count(run, publication)
        if storage:
            assert run.storage is not None
            self.storage.write(run.storage, storage)
            STORAGE.count(storage)
        rows = self._rows.setdefault(run.life, [])
        for step in steps:
            index = bisect_left(rows, step.ordinal, key=lambda row: row.ordinal)
            if index == len(rows) or rows[index].ordinal != step.ordinal:
                rows.insert(index, step)
        return commit

    async def keep_chunk(self, run: RunOwnership, chunk: BlobChunk) -> int:
        """As StepStore."""
        commit = self._count(run, None)
        self._chunks.setdefault(run.life, {})[chunk.digest, chunk.number] = chunk.data
        return commit

    async def read(self, life: Life, after_ordinal: int) -> Sequence[StoredStep]:
        """As StepStore."""
        rows = self._rows.get(life, [])
        first = bisect_right(rows, after_ordinal, key=lambda row: row.ordinal)
        return rows[first : first + PAGE_ROWS]

    async def read_chunk(self, life: Life, digest: bytes, number: int) -> bytes | None:
        """As StepStore."""
        return self._chunks.get(life, {}).get((digest, number))

    async def read_published(self, life: Life) -> Sequence[Published]:
        """As StepStore."""
        return [row.published for row in self._rows.get(life, []) if row.published is not None]

    async def read_events(self, life: Life) -> Sequence[EventRow]:
        """As StepStore: nothing, since no run outlives its node."""
        return ()

    async def last_gain(self, life: Life) -> int:
        """As StepStore."""
        ended = [row.attempt for row in self._rows.get(life, []) if row.state != StepState.STARTED]
        return ended[-1] if ended else 0

    def forget(self, life: Life) -> None:
        """The run has ended: a task with it."""
        self._rows.pop(life, None)
        self._chunks.pop(life, None)
        self.storage.forget(task_scope(life.tenant, life.life_id))
