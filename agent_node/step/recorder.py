"""What a run's steps are written to and read from: the store, under the compares of the session or the task."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from agent_node.store.step_records import BlobChunk, StoredStep
from agent_node.store.storage_records import StorageEntry, StorageValue, StorageWrite


class StepRecorder(Protocol):
    """Of one run. Every method raises NodeFenced, and what the store raises, after which the run is at its end."""

    @property
    def life_id(self) -> str:
        """The run's."""

    @property
    def tasks(self) -> asyncio.TaskGroup:
        """Owns what must not end with the agent's own tasks."""

    def check(self) -> None:
        """Raises what ends this attempt where the run is not at its end: it is cut off, and left to its next owner, so
        that what its agent does to undo its steps must neither be done nor recorded."""

    async def read(self, after_ordinal: int) -> Sequence[StoredStep]:
        """As StepStore."""

    async def read_chunk(self, digest: bytes, number: int) -> bytes | None:
        """As StepStore."""

    async def read_value(self, key: bytes) -> StorageValue | None:
        """As StorageStore.read, of the run's own scope."""

    async def read_keys(self, after: bytes) -> Sequence[StorageEntry]:
        """As StorageStore.keys, likewise."""

    def mark(self) -> int:
        """Ends a row of events at what was told so far: the seq of that, to be kept with a commit."""

    async def begun(self, step: StoredStep) -> None:
        """A step's function is about to be called: a line of the audit log. In the node's own process it does not
        wait."""

    async def keep(self, steps: Sequence[StoredStep], storage: Sequence[StorageWrite] = ()) -> None:
        """Returns once the rows, and what is written by key, are committed in one transaction, and the run is still
        this node's. One call at a time."""

    async def keep_chunk(self, chunk: BlobChunk) -> None:
        """As `keep`."""

    def close(self) -> None:
        """The run is over: nothing is written any more. What is asked for later raises RuntimeError."""
