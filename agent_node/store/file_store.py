"""Where the files of sessions are kept: the interface.

Every implementation guarantees: each write is one step that first compares the session's epoch and owner; a file is
there only whole; one that a turn uses is not removed by a sweep that runs at the same time, since both change its row.
Raises as Store (session_store.py).
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from agent_node.store.file_records import FileChunk
from agent_node.store.session_records import Ownership
from agentring.ids import SessionRef


class FileStore(Protocol):
    """The files of sessions, by their digests."""

    async def make_room(
        self, ownership: Ownership, digest: bytes, size_bytes: int, max_bytes: int, in_use: Collection[bytes]
    ) -> bool:
        """Removes the files that were used longest ago, until this one is within max_bytes; what an earlier try has
        begun of it does not count twice. False: it would not be, and nothing was removed. in_use: those that stay;
        those that no turn has used yet do, too. A file counts as max_bytes / MOST_FILES at least."""

    async def keep_chunk(self, ownership: Ownership, chunk: FileChunk) -> None:
        """Keeps a piece; one that is there stays. Pieces come in their order."""

    async def use(self, ownership: Ownership, digests: Collection[bytes]) -> Mapping[bytes, int]:
        """A turn uses these files, if all are there: they do not expire from now on. Returns the sizes of those that
        are."""

    async def size(self, ref: SessionRef, digest: bytes) -> int | None:
        """How many bytes a file has; None: it is not there."""

    async def read_chunk(self, ref: SessionRef, digest: bytes, number: int) -> bytes | None:
        """A piece; None: it is not there."""

    async def expire(self, unused_s: float) -> int:
        """Removes files that no turn has used, and that were put so long ago, some at a time; how many."""
