"""How what runs have stored by key (`ctx.storage`) is read: the interface. It is written with their steps
(step_store.py), under the same compare.

Every method may raise StoreUnavailable within the store's deadline. Cancellation: it may be called again.
"""

from collections.abc import Sequence
from typing import Protocol

from agent_node.store.storage_records import StorageEntry, StorageScope, StorageValue


class StorageStore(Protocol):
    """Bytes by key."""

    async def read(self, scope: StorageScope, key: bytes) -> StorageValue | None:
        """The value; None: there is none."""

    async def keys(self, scope: StorageScope, after: bytes) -> Sequence[StorageEntry]:
        """The keys after one (empty: all) in their order, at most PAGE_KEYS; fewer: there are no more."""

    async def remove_leftovers(self) -> int:
        """Removes what nodes of a release that knows nothing of it have left of sessions and tasks; of how many."""
