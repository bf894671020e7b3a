"""Whose turn it is to write to an SQLite file, among the processes that share it.

SQLite itself has nobody wait for its write lock but by asking again and again, which costs a processor and leaves to
chance who comes next. So a process first takes a lock of the operating system's on a file beside the database, for
which the kernel wakes it: `<database>-turn`, then `<database>-lock`. Whoever waits for the second holds the first, so
that a process which has just written cannot come in between again.

Guarantees: it decides nothing. SQLite's own lock does, so a process that does not take this one (an earlier release, a
person with `sqlite3`) is only unfair, and one that stands still while it has or waits for this one holds nobody up for
longer than their patience, and only once: whoever has waited in vain does not wait again before it was free. A process
that ends gives it up, and so does a forked child of an agent, which closes what it has of it. Called by sqlite.py, on
the thread that writes.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agentring.process import forks, private_files


class WriteLock:
    """One process's way to the lock. Resource handling: `close()`."""

    def __init__(self, path: Path) -> None:
        """path: the database's, without links. Raises OSError."""
        self._turn = _open(path.with_name(f"{path.name}-turn"))
        try:
            self._lock = _open(path.with_name(f"{path.name}-lock"))
        except OSError:
            _close(self._turn)
            raise
        self._state = threading.Condition()
        self._thread: threading.Thread | None = None
        """Stands in the kernel until it has the lock, which may take for ever; made when the lock was first taken."""
        self._waits = False
        """The thread is on its way to the lock, and alone uses the two files."""
        self._wanted = False
        self._has = False
        self._closed = False

    @contextmanager
    def held(self, patience_s: float) -> Iterator[bool]:
        """The lock is ours in the body; False: it was not to be had."""
        held = self._take(patience_s)
        try:
            yield held
        finally:
            if held:
                _give_up(self._lock)

    def close(self) -> None:
        """Gives up what is waited for; never called inside `held`. May be called again."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            self._state.notify_all()
            if not self._waits:
                self._close_files()

    def _take(self, patience_s: float) -> bool:
        with self._state:
            if self._waits:  # since an earlier time, whose patience has ended
                return False
            if _take_at_once(self._turn):
                had = _take_at_once(self._lock)
                _give_up(self._turn)
                if had:
                    return True
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="store-lock", daemon=True)
                self._thread.start()
            self._waits = self._wanted = True
            self._state.notify_all()
            self._state.wait_for(lambda: self._has, patience_s)
            has, self._has, self._wanted = self._has, False, False
            return has

    def _serve(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._waits or self._closed)
                if not self._waits:
                    return
            try:
                fcntl.flock(self._turn, fcntl.LOCK_EX)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            except OSError:  # there are no such locks here: nobody waits for one again
                return
            finally:
                _give_up(self._turn)
            with self._state:
                self._waits = False
                self._has = self._wanted
                self._state.notify_all()
                if not self._wanted:
                    _give_up(self._lock)
                if self._closed:
                    self._close_files()

    def _close_files(self) -> None:
        _close(self._turn)
        _close(self._lock)


def _take_at_once(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _give_up(fd: int) -> None:
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)


def _open(path: Path) -> int:
    fd = private_files.open_file(path, os.O_RDWR | os.O_CREAT)
    forks.close_in_children(fd)
    return fd


def _close(fd: int) -> None:
    forks.forget(fd)
    os.close(fd)
