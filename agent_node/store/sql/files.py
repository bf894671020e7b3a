"""The durable store of sessions' files, on whatever carries out the SQL store's transactions.

Guarantees what FileStore promises; how is said in file_transactions.py. Few pieces are written at a time, so that no
group of transactions is large.
"""

import asyncio
import os
from collections.abc import Collection, Mapping
from functools import partial

from agent_node.store.clock import StoreClock, in_ns
from agent_node.store.database.driver import Driver
from agent_node.store.file_records import FileChunk
from agent_node.store.session_records import Ownership
from agent_node.store.sql import file_transactions
from agentring.ids import SessionRef

_CHUNKS_AT_A_TIME = 2


class SqlFileStore:
    """A FileStore in an SQL database."""

    def __init__(self, driver: Driver, clock: StoreClock) -> None:
        self._driver = driver
        self._clock = clock
        self._writing_chunks = asyncio.Semaphore(_CHUNKS_AT_A_TIME)

    async def make_room(
        self, ownership: Ownership, digest: bytes, size_bytes: int, max_bytes: int, in_use: Collection[bytes]
    ) -> bool:
        """As FileStore."""
        work = partial(
            file_transactions.make_room,
            ownership=ownership,
            commit_id=_commit_id(),
            digest=digest,
            size_bytes=size_bytes,
            max_bytes=max_bytes,
            in_use=in_use,
        )
        return await self._driver.transact(work, retry=True)

    async def keep_chunk(self, ownership: Ownership, chunk: FileChunk) -> None:
        """As FileStore."""
        now_ns = self._clock.now().at_most_ns
        keep = partial(
            file_transactions.keep_chunk, ownership=ownership, commit_id=_commit_id(), chunk=chunk, now_ns=now_ns
        )
        async with self._writing_chunks:
            await self._driver.transact(keep, retry=True)

    async def use(self, ownership: Ownership, digests: Collection[bytes]) -> Mapping[bytes, int]:
        """As FileStore."""
        now_ns = self._clock.now().at_most_ns
        using = partial(
            file_transactions.use, ownership=ownership, commit_id=_commit_id(), digests=digests, now_ns=now_ns
        )
        return await self._driver.transact(using, retry=True)

    async def size(self, ref: SessionRef, digest: bytes) -> int | None:
        """As FileStore."""
        return await self._driver.read(partial(file_transactions.size, ref=ref, digest=digest))

    async def read_chunk(self, ref: SessionRef, digest: bytes, number: int) -> bytes | None:
        """As FileStore."""
        return await self._driver.read(partial(file_transactions.read_chunk, ref=ref, digest=digest, number=number))

    async def expire(self, unused_s: float) -> int:
        """As FileStore."""
        before_ns = self._clock.now().at_least_ns - in_ns(unused_s)
        return await self._driver.transact(partial(file_transactions.expire, before_ns=before_ns), retry=True)


def _commit_id() -> str:
    return os.urandom(16).hex()
