"""What a store keeps of a session's files, as records.

A file is named by its content's SHA-256. It is written in pieces, and is there once the last one is; what was begun and
not finished, or not used by any turn, expires.
"""

from dataclasses import dataclass

FILE_BYTES = 16 << 20
"""The most that one file has."""
CHUNK_BYTES = 1 << 20
"""A file is written and read in pieces of this size, so that no transaction is large."""
SESSION_BYTES = 64 << 20
"""The most that the files of one session have together, by default."""
MOST_FILES = 10_000
"""Of one session: a file counts as this part of SESSION_BYTES at least."""
UNUSED_S = 3600.0
"""How long a file is kept that no turn has used, by the store's clock."""


@dataclass(frozen=True, slots=True)
class FileChunk:
    """A piece of a file."""

    digest: bytes
    """The SHA-256 of the whole file."""
    size_bytes: int
    """Of the whole file."""
    number: int
    """From 0."""
    data: bytes
    is_used: bool = False
    """A turn has put the file out, so it does not expire."""

    @property
    def is_last(self) -> bool:
        """Whether the file is whole with it."""
        return self.number * CHUNK_BYTES + len(self.data) == self.size_bytes
