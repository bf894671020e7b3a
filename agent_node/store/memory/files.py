"""The volatile store of files: in the process, with the session."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from agent_node.store.clock import StoreClock, in_ns
from agent_node.store.file_records import MOST_FILES, FileChunk
from agent_node.store.session_records import Ownership
from agentring.ids import SessionRef

_Files = dict[bytes, "_File"]
"""The one that was used longest ago first."""


@dataclass(slots=True)
class _File:
    size_bytes: int
    touched_ns: int = 0
    is_used: bool = False
    chunks: dict[int, bytes] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return sum(map(len, self.chunks.values())) == self.size_bytes


class MemoryFileStore:
    """A FileStore of one node alone."""

    def __init__(self, check: Callable[[Ownership], object], clock: StoreClock) -> None:
        """check: raises StaleEpoch where the caller does not own the session."""
        self._check = check
        self._clock = clock
        self._sessions: dict[SessionRef, _Files] = {}

    async def make_room(
        self, ownership: Ownership, digest: bytes, size_bytes: int, max_bytes: int, in_use: Collection[bytes]
    ) -> bool:
        """As FileStore."""
        self._check(ownership)
        files = self._sessions.get(ownership.ref, {})
        least = max_bytes // MOST_FILES
        others = {other: max(file.size_bytes, least) for other, file in files.items() if other != digest}
        left_bytes = max_bytes - max(size_bytes, least) - sum(others.values())
        due = []
        for other, freed_bytes in others.items():
            if left_bytes >= 0:
                break
            if files[other].is_used and other not in in_use:
                due.append(other)
                left_bytes += freed_bytes
        if left_bytes < 0:
            return False
        for other in due:
            del files[other]
        return True

    async def keep_chunk(self, ownership: Ownership, chunk: FileChunk) -> None:
        """As FileStore."""
        self._check(ownership)
        files = self._sessions.setdefault(ownership.ref, {})
        file = self._touched(files, chunk.digest, _File(chunk.size_bytes))
        file.is_used = file.is_used or chunk.is_used
        file.chunks.setdefault(chunk.number, chunk.data)

    async def use(self, ownership: Ownership, digests: Collection[bytes]) -> Mapping[bytes, int]:
        """As FileStore."""
        self._check(ownership)
        files = self._sessions.get(ownership.ref, {})
        found = {digest: files[digest].size_bytes for digest in digests if digest in files and files[digest].is_whole}
        if len(found) == len(set(digests)):
            for digest in found:
                self._touched(files, digest, files[digest]).is_used = True
        return found

    async def size(self, ref: SessionRef, digest: bytes) -> int | None:
        """As FileStore."""
        file = self._sessions.get(ref, {}).get(digest)
        return file.size_bytes if file is not None and file.is_whole else None

    async def read_chunk(self, ref: SessionRef, digest: bytes, number: int) -> bytes | None:
        """As FileStore."""
        file = self._sessions.get(ref, {}).get(digest)
        return file.chunks.get(number) if file is not None else None

    async def expire(self, unused_s: float) -> int:
        """As FileStore."""
        before_ns = self._clock.now().at_least_ns - in_ns(unused_s)
        count = 0
        for files in self._sessions.values():
            for digest, file in list(files.items()):
                if not file.is_used and file.touched_ns < before_ns:
                    del files[digest]
                    count += 1
        return count

    def forget(self, ref: SessionRef) -> None:
        """The session is not here any more."""
        self._sessions.pop(ref, None)

    def _touched(self, files: _Files, digest: bytes, new: _File) -> _File:
        file = files[digest] = files.pop(digest, new)
        file.touched_ns = self._clock.now().at_most_ns
        return file
