"""The volatile store of `ctx.storage`: in the process, for as long as this node holds the claim."""

from collections.abc import Sequence

from agent_node.store.storage_records import (
    PAGE_KEYS,
    StorageEntry,
    StorageScope,
    StorageValue,
    StorageWrite,
    checksum_of,
)


class MemoryStorageStore:
    """A StorageStore of one node alone."""

    def __init__(self) -> None:
        self._values: dict[StorageScope, dict[bytes, bytes]] = {}

    async def read(self, scope: StorageScope, key: bytes) -> StorageValue | None:
        """As StorageStore."""
        data = self._values.get(scope, {}).get(key)
        return StorageValue(data, checksum_of(data)) if data is not None else None

    async def keys(self, scope: StorageScope, after: bytes) -> Sequence[StorageEntry]:
        """As StorageStore."""
        values = self._values.get(scope, {})
        later = sorted(key for key in values if key > after)[:PAGE_KEYS]
        return [StorageEntry(key, len(values[key])) for key in later]

    async def remove_leftovers(self) -> int:
        """As StorageStore: nobody else writes here."""
        return 0

    def write(self, scope: StorageScope, writes: Sequence[StorageWrite]) -> None:
        """Writes all of these, in their order."""
        values = self._values.setdefault(scope, {})
        for each in writes:
            if each.value is None:
                values.pop(each.key, None)
            else:
                values[each.key] = each.value

    def forget(self, scope: StorageScope) -> None:
        """Its session or task is not here any more, or has ended."""
        self._values.pop(scope, None)
