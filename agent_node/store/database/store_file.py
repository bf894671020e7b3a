"""Whether the SQLite file in use is still the one at its path.

A file that was replaced by a copy, removed, or robbed of its `-wal` goes on being written by the processes that have it
open: what is acknowledged then is gone with the process, and other processes do not see it. So each transaction looks,
between taking the lock and its commit, and again before the commit is acknowledged: the file, its `-wal` and its `-shm`
must have the device and the inode that they had when they were opened, and must not have been cut. SQLite itself makes
none of them anew while a connection is open; what makes them shorter properly (VACUUM, a truncating checkpoint) says so
in their headers.

What it cannot know: that another file's content was written into this one, whole. The store's clock then goes back,
which is noticed at its next tick (store/sql/shared_clock.py). Called by sqlite.py, on its threads.
"""

import os
import struct
from pathlib import Path

import structlog

from agentring.errors import StoreReplaced

_ENDS = ("", "-wal", "-shm")
_MAGIC = b"SQLite format 3\0"
_LOOKS = 3
"""At what is being changed properly at this moment."""

_log = structlog.get_logger()


class StoreFile:
    """The file that a process has opened."""

    def __init__(self, path: Path) -> None:
        """path: absolute. Nothing is known before `learn`."""
        self._path = str(path)
        self._paths: tuple[str, ...] = ()
        """As SQLite has them, which resolves links: where a link leads elsewhere later, the first is another file."""
        self._ids: list[tuple[int, int]] = []
        self._bytes = [0, 0, 0]
        self._logged = False

    @property
    def name(self) -> str:
        """Names the file among the machine's; empty: nothing is known yet."""
        return f"{self._ids[0][0]}:{self._ids[0][1]}" if self._ids else ""

    def learn(self) -> None:
        """The files are these; does nothing once they are known. Called inside a transaction; one that has not read yet
        may not have the log, and teaches nothing."""
        if self._ids:
            return
        real = os.path.realpath(self._path)
        paths = (self._path, f"{real}-wal", f"{real}-shm")
        try:
            stats = [os.stat(path) for path in paths]
        except OSError:
            return
        self._paths = paths
        self._ids = [(stat.st_dev, stat.st_ino) for stat in stats]
        self._bytes = [stat.st_size for stat in stats]

    def check(self) -> None:
        """Raises StoreReplaced unless they are still there; before `learn` nothing is compared."""
        for index, known in enumerate(self._ids):
            stat = self._stat(self._paths[index])
            if (stat.st_dev, stat.st_ino) != known:
                raise self._replaced(index, "another file")
            if stat.st_size < self._bytes[index] and index < 2 and self._is_cut(index):
                raise self._replaced(index, "cut")
            self._bytes[index] = stat.st_size
        self._logged = False

    @property
    def may_be_closed(self) -> bool:
        """Whether SQLite's last connection may be closed: it removes whatever is in the place of its `-wal`, which must
        not be another process's. Where nothing is, closing even saves what was in the removed one."""
        for path, known in zip(self._paths[:2], self._ids[:2], strict=True):
            try:
                stat = os.stat(path)
            except OSError:
                if path == self._paths[0]:
                    return False
                continue
            if (stat.st_dev, stat.st_ino) != known:
                return False
        return True

    def _stat(self, path: str) -> os.stat_result:
        try:
            return os.stat(path)
        except OSError as error:
            raise self._replaced(self._paths.index(path), error.strerror or "gone") from None

    def _replaced(self, index: int, how: str) -> StoreReplaced:
        if not self._logged:  # once, though every transaction finds it so
            self._logged = True
            _log.error("store_replaced", path=self._path + _ENDS[index], how=how)
        return StoreReplaced()

    def _is_cut(self, index: int) -> bool:
        """Whether a file that has become shorter lacks something that its header says it has."""
        lacks = self._database_lacks if index == 0 else self._log_lacks
        return all(lacks() for _ in range(_LOOKS))

    def _database_lacks(self) -> bool:
        head = _read(self._ids[0], 100)
        if len(head) < 100 or not head.startswith(_MAGIC):
            return True
        (page,), (pages,) = struct.unpack_from(">H", head, 16), struct.unpack_from(">I", head, 28)
        return bool(self._stat(self._paths[0]).st_size < (65_536 if page == 1 else page) * pages)

    def _log_lacks(self) -> bool:
        head = _read(self._ids[2], 48)  # the index of the log: how many frames of it count
        if len(head) < 48:
            return True
        (page,), (frames,) = struct.unpack_from("=H", head, 14), struct.unpack_from("=I", head, 16)
        needed = 32 + frames * ((65_536 if page == 1 else page) + 24) if frames else 0
        return bool(self._stat(self._paths[1]).st_size < needed)


def _read(file: tuple[int, int], size: int) -> bytes:
    """The file's beginning, through a descriptor that SQLite has of it: where this process closed one of its own, the
    system would drop all locks that SQLite holds."""
    for name in os.listdir("/proc/self/fd"):
        try:
            stat = os.fstat(int(name))
            if (stat.st_dev, stat.st_ino) == file:
                return os.pread(int(name), size, 0)
        except OSError:
            continue  # it was closed meanwhile, or cannot be read
    return b""
