"""The durable store of steps, on whatever carries out the SQL store's transactions.

Guarantees what StepStore promises; how is said in step_transactions.py. Its transactions share the driver's groups with
those of the sessions and tasks. Of the pieces of blobs, and of what is stored by key, few are written at a time, so
that no group of transactions is large: what a group holds is bounded.
"""

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from agent_node.store.database.byte_budget import ByteBudget
from agent_node.store.database.driver import Driver
from agent_node.store.published import Published
from agent_node.store.session_records import EventRow, Publication
from agent_node.store.sql import step_at_once, step_published, step_transactions
from agent_node.store.step_records import BlobChunk, Life, RunOwnership, StoredStep
from agent_node.store.storage_counts import STORAGE
from agent_node.store.storage_records import StorageWrite

_CHUNKS_AT_A_TIME = 4
_STORAGE_BYTES_AT_A_TIME = 32 << 20


class SqlStepStore:
    """A StepStore in an SQL database."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._writing_chunks = asyncio.Semaphore(_CHUNKS_AT_A_TIME)
        self._storage_bytes = ByteBudget(_STORAGE_BYTES_AT_A_TIME)

    async def keep(
        self,
        run: RunOwnership,
        steps: Sequence[StoredStep],
        storage: Sequence[StorageWrite] = (),
        publication: Publication | None = None,
    ) -> int:
        """As StepStore."""
        commit_id = os.urandom(16).hex()
        values: dict[str, Any] = {"run": run, "commit_id": commit_id, "rows": steps, "publication": publication}
        if storage:
            work = partial(step_transactions.keep, **values, storage=storage)
            async with self._storage_bytes.taken(sum(len(write.value or b"") for write in storage)):
                commit = await self._driver.transact(work, retry=True)
            STORAGE.count(storage)
            return commit
        work, at_once = partial(step_transactions.keep, **values), partial(step_at_once.keep, **values)
        return await self._driver.transact(work, retry=True, at_once=at_once)

    async def keep_chunk(self, run: RunOwnership, chunk: BlobChunk) -> int:
        """As StepStore."""
        work = partial(step_transactions.keep_chunk, run=run, commit_id=os.urandom(16).hex(), chunk=chunk)
        async with self._writing_chunks:
            return await self._driver.transact(work, retry=True)

    async def read(self, life: Life, after_ordinal: int) -> Sequence[StoredStep]:
        """As StepStore."""
        return await self._driver.read(partial(step_transactions.read, life=life, after_ordinal=after_ordinal))

    async def read_chunk(self, life: Life, digest: bytes, number: int) -> bytes | None:
        """As StepStore."""
        return await self._driver.read(partial(step_transactions.read_chunk, life=life, digest=digest, number=number))

    async def read_published(self, life: Life) -> Sequence[Published]:
        """As StepStore."""
        return await self._driver.read(partial(step_published.read, life=life))

    async def read_events(self, life: Life) -> Sequence[EventRow]:
        """As StepStore."""
        return await self._driver.read(partial(step_transactions.read_events, life=life))

    async def last_gain(self, life: Life) -> int:
        """As StepStore."""
        return await self._driver.read(partial(step_transactions.last_gain, life=life))
