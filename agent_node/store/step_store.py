"""Where the steps of runs are kept: the interface.

Every implementation guarantees: each write is one step that first compares the run's epoch, so that none of an epoch
lands after one of a later epoch, and that the run is open, so that none lands after its end; a write that landed, and
is tried again by itself because its answer was lost, changes nothing the second time; the rows of a life are found by
its next attempt, in a durable store also after a crash. The rows go in the transaction that stores the run's end, if
that says that there may be some (StoredTurn.may_have_steps, TaskEnd.life_id).

Every method may raise StaleEpoch (the caller no longer owns the run, or it has ended) and StoreUnavailable (nobody
knows whether the write landed), the latter within the store's deadline. Cancellation: as StoreUnavailable. A session,
and a task's run, has one write under way at a time.
"""

from collections.abc import Sequence
from typing import Protocol

from agent_node.store.published import Published
from agent_node.store.session_records import EventRow, Publication
from agent_node.store.step_records import BlobChunk, Life, RunOwnership, StoredStep
from agent_node.store.storage_records import StorageWrite


class StepStore(Protocol):
    """The steps of runs that have not ended."""

    async def keep(
        self,
        run: RunOwnership,
        steps: Sequence[StoredStep],
        storage: Sequence[StorageWrite] = (),
        publication: Publication | None = None,
    ) -> int:
        """Adds rows, whose ordinals follow those that are there, and writes to the run's storage, in one transaction;
        the commit number of the session or task. publication: what was published before, kept in a durable store: a
        session's events beside those of its ended turns, a task's until it has ended."""

    async def keep_chunk(self, run: RunOwnership, chunk: BlobChunk) -> int:
        """Keeps a piece of a blob, before the row that names it. Returns as `keep`."""

    async def read(self, life: Life, after_ordinal: int) -> Sequence[StoredStep]:
        """The rows after an ordinal (-1: all) in their order, at most PAGE_ROWS; fewer: there are no more."""

    async def read_chunk(self, life: Life, digest: bytes, number: int) -> bytes | None:
        """A piece of a blob; None: there is none of this number."""

    async def read_published(self, life: Life) -> Sequence[Published]:
        """What the commits kept of how far the run had told, in their order."""

    async def read_events(self, life: Life) -> Sequence[EventRow]:
        """What was told of a task's run, in order."""

    async def last_gain(self, life: Life) -> int:
        """The last attempt in which a step came to an outcome; 0: none did."""
