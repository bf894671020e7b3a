"""Reads of `ctx.storage` in an SQL database."""

from collections.abc import Sequence
from functools import partial

from agent_node.store.database.driver import Driver
from agent_node.store.sql import storage_leftovers, storage_schema
from agent_node.store.storage_records import StorageEntry, StorageScope, StorageValue


class SqlStorageStore:
    """A StorageStore in an SQL database."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def read(self, scope: StorageScope, key: bytes) -> StorageValue | None:
        """As StorageStore."""
        return await self._driver.read(partial(storage_schema.read, scope=scope, key=key))

    async def keys(self, scope: StorageScope, after: bytes) -> Sequence[StorageEntry]:
        """As StorageStore."""
        return await self._driver.read(partial(storage_schema.keys, scope=scope, after=after))

    async def remove_leftovers(self) -> int:
        """As StorageStore."""
        count, last = 0, None
        while page := await self._driver.read(partial(storage_leftovers.scopes, after=last)):
            last = page[-1]
            if left := await self._driver.read(partial(storage_leftovers.nobodys, found=page)):
                await self._driver.transact(partial(storage_leftovers.remove, left=left), retry=True)
                count += len(left)
        return count
