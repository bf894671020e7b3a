"""Whose turn it is to write to an SQLite file, among the processes that share it.

SQLite itself has nobody wait for its write lock but by asking again and again, which costs a processor and leaves to
chance who comes next. So a process first takes a lock of the operating system's on a file beside the database, for
which the kernel wakes it: `<database>-turn`, then `<database>-lock`. Whoever waits for the second holds the first, so
that a process which has just written cannot come in between again.

Guarantees: a wait ends after its time, though the lock is held by a process that stands still; a process that ends
gives it up, and so does a forked child of an agent, which closes what it has of it. It decides nothing: SQLite's own
lock does, and processes that do not take this one (an earlier release, a person with `sqlite3`) are only unfair.
Called by sqlite.py, on the thread that writes.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentring.process import forks, private_files


class NotInTime(Exception):
    """Others have held the lock for the whole time."""


class WriteLock:
    """One process's way to the lock. Resource handling: `close()`."""

    def __init__(self, path: Path) -> None:
        """path: the database's. Raises OSError."""
        self._turn = _open(path.with_name(f"{path.name}-turn"))
        self._lock = _open(path.with_name(f"{path.name}-lock"))
        self._state = threading.Condition()
        self._waiter: threading.Thread | None = None
        """Stands in the kernel until it has the lock; a call that may take for ever needs a thread that may be left."""
        self._wanted = False
        self._held = False
        self._closed = False

    @contextmanager
    def held(self, timeout_s: float) -> Iterator[None]:
        """In the body the lock is ours. Raises NotInTime."""
        if not self._take_at_once():
            self._wait(timeout_s)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Gives up what is held or waited for. Not to be used any more; may be called again."""
        with self._state:
            waits = self._waiter is not None
            closed, self._closed = self._closed, True
        if not waits and not closed:  # else the waiting thread's descriptors end with the process
            for fd in (self._turn, self._lock):
                forks.forget(fd)
                os.close(fd)

    def _take_at_once(self) -> bool:
        with self._state:
            if self._waiter is not None:
                return False
        return _take(self._turn, at_once=True) and self._take_behind_turn()

    def _take_behind_turn(self) -> bool:
        try:
            return _take(self._lock, at_once=True)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _wait(self, timeout_s: float) -> None:
        with self._state:
            self._wanted = True
            if self._waiter is None:  # else one from before, whose time was over, still waits
                self._waiter = threading.Thread(target=self._take_for_us, name="store-lock", daemon=True)
                self._waiter.start()
            self._state.wait_for(lambda: self._held, timeout_s)
            self._wanted = False
            if not self._held:
                raise NotInTime
            self._held = False

    def _take_for_us(self) -> None:
        _take(self._turn)
        _take(self._lock)
        fcntl.flock(self._turn, fcntl.LOCK_UN)
        with self._state:
            self._waiter = None
            if self._wanted:
                self._held = True
                self._state.notify_all()
            else:
                fcntl.flock(self._lock, fcntl.LOCK_UN)


def _take(fd: int, *, at_once: bool = False) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (fcntl.LOCK_NB if at_once else 0))
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    fd = private_files.open_file(path, os.O_RDWR | os.O_CREAT)
    forks.close_in_children(fd)
    return fd
