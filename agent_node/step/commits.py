"""Writes a run's steps: what ends in one pass of the event loop, or while a commit is under way, shares the next one.

Guarantees: rows are committed in the order in which they were added, numbered without a gap; a large value is committed
before the row that names it; once a commit has failed nothing is written any more, and everybody who waits gets what it
failed with. Used by steps.py.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from agent_node.step.errors import StepCorrupt
from agent_node.step.packing import packed, unpacked
from agent_node.step.recorder import StepRecorder
from agent_node.store.published import Published
from agent_node.store.step_records import CHUNK_BYTES, INLINE_BYTES, BlobChunk, StoredStep
from agent_node.store.storage_records import StorageWrite

_AT_ONCE_BYTES = 64 << 10
"""Packed and unpacked without a thread: about a millisecond."""
_MOST_ROWS = 256
"""In one transaction."""
_MOST_STORAGE_BYTES = 16 << 20
"""In one transaction of several steps."""


def _seen(future: "asyncio.Future[None]") -> None:
    """Nobody may be waiting for it any more; that is no error of the event loop's."""
    if not future.cancelled():
        future.exception()


@dataclass(slots=True)
class _Added:
    row: StoredStep | None
    storage: Sequence[StorageWrite]
    committed: "asyncio.Future[None]"


class Commits:
    """Of one run."""

    def __init__(self, recorder: StepRecorder, published: Callable[[], Published]) -> None:
        """told: how far the run has told what it says."""
        self._recorder = recorder
        self._published = published
        self._waiting: list[_Added] = []
        self._flushing = False
        self._failure: Exception | None = None
        self.last_ordinal = 0
        """Of the rows that are there, or on their way."""

    def check(self) -> None:
        """Raises what a commit failed with."""
        if self._failure is not None:
            raise self._failure

    def add(
        self,
        row: StoredStep | None,
        storage: Sequence[StorageWrite] = (),
        *,
        at_once: bool = True,
        settled: "Callable[[asyncio.Future[None]], object]" = _seen,
    ) -> "asyncio.Future[None]":
        """Resolved once the row, and what is written by key with it, are committed, which is done whoever waits for it
        or not. at_once: or else with the next one that is. settled: is called with the future once it is done, before
        anybody who waits for it goes on."""
        added = _Added(row, storage, asyncio.get_running_loop().create_future())
        added.committed.add_done_callback(settled)
        self._waiting.append(added)
        if self._failure is not None:
            self._fail(self._failure)
        elif at_once and not self._flushing:
            self._flushing = True
            self._recorder.tasks.create_task(self._flush()).add_done_callback(self._cut_off)
        return added.committed

    async def value_of(self, row: StoredStep) -> bytes:
        """The row's value, wherever it is. Raises StepCorrupt."""
        if not row.blob:
            return row.value
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < row.size_bytes:
            piece = await self._recorder.read_chunk(row.blob, len(pieces))
            if not piece:
                break
            pieces.append(await _quickly(unpacked, piece))
        value = b"".join(pieces)
        if sha256(value).digest() != row.blob:
            raise StepCorrupt(f"what is stored of the step {row.name} is not what was written")
        return value

    async def _with_blob(self, row: StoredStep) -> StoredStep:
        digest = sha256(row.value).digest()
        for number, begin in enumerate(range(0, row.size_bytes, CHUNK_BYTES)):
            piece = await _quickly(packed, row.value[begin : begin + CHUNK_BYTES])
            await self._recorder.keep_chunk(BlobChunk(digest, number, piece))
        return replace(row, value=b"", blob=digest)

    async def _flush(self) -> None:
        while self._waiting:
            group = self._next_group()
            try:
                # Now: what is said while a large value is written may follow from what is not in this group.
                published = self._published()
                rows = [await self._numbered(added.row) for added in group if added.row is not None]
                if rows:
                    rows[-1] = replace(rows[-1], published=published)
                if storage := [write for added in group for write in added.storage]:
                    await self._recorder.keep(rows, storage)
                else:
                    await self._recorder.keep(rows)
            except Exception as error:
                self._fail(error)
                break
            del self._waiting[: len(group)]
            for added in group:
                if not added.committed.done():
                    added.committed.set_result(None)
        self._flushing = False

    def _next_group(self) -> list[_Added]:
        group: list[_Added] = []
        size_bytes = 0
        for added in self._waiting[:_MOST_ROWS]:
            size_bytes += sum(len(write.value or b"") for write in added.storage)
            if group and size_bytes > _MOST_STORAGE_BYTES:
                break
            group.append(added)
        return group

    async def _numbered(self, row: StoredStep) -> StoredStep:
        self.last_ordinal += 1
        row = replace(row, ordinal=self.last_ordinal)
        return await self._with_blob(row) if row.size_bytes > INLINE_BYTES else row

    def _cut_off(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():  # the incarnation ends
            for added in self._waiting:
                added.committed.cancel()
            self._waiting.clear()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        for added in self._waiting:
            if not added.committed.done():
                added.committed.set_exception(error)
        self._waiting.clear()


async def _quickly(change: Callable[[bytes], bytes], piece: bytes) -> bytes:
    """On a thread, where the event loop would wait for it."""
    return change(piece) if len(piece) <= _AT_ONCE_BYTES else await asyncio.to_thread(change, piece)
