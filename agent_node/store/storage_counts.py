"""How much this process has written for `ctx.storage`, for the node's metrics."""

from collections.abc import Sequence

from agent_node.store.storage_records import StorageWrite


class StorageCounts:
    """Of all sessions and tasks. One for a process."""

    def __init__(self) -> None:
        self.written_bytes = 0
        """Of values that were committed."""
        self.puts = 0
        self.deletes = 0

    def count(self, writes: Sequence[StorageWrite]) -> None:
        """These were committed."""
        for write in writes:
            if write.value is None:
                self.deletes += 1
            else:
                self.puts += 1
                self.written_bytes += len(write.value)


STORAGE = StorageCounts()
