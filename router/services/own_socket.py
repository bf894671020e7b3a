"""Where a router's own services listen: a unix socket in a directory that is the router's alone.

Guarantees: the socket's path is short enough to be bound (108 bytes with its end), however long TMPDIR is; the
directory goes with the router, and those of routers that were killed go with the next one that starts. A living router
is told by its lock on the directory, which ends with the process however that ends.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "agentring-router-"
_NAME = "services.sock"
_MAX_PATH_BYTES = 100
_SHORT = "/tmp"  # noqa: S108  the directory below it is ours alone


@contextmanager
def own_socket() -> Iterator[str]:
    """The path to listen on. Raises OSError."""
    parent = Path(tempfile.gettempdir())
    if len(os.fsencode(parent / f"{_PREFIX}12345678" / _NAME)) > _MAX_PATH_BYTES:
        parent = Path(_SHORT)
    _sweep(parent)
    directory, lock = _make(parent)
    try:
        yield str(directory / _NAME)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _make(parent: Path) -> tuple[Path, int]:
    """A directory and the lock on it. Another router that starts may take one for left behind before it is locked."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        if (lock := _lock(directory)) is not None:
            if directory.exists():
                return directory, lock
            os.close(lock)


def _sweep(parent: Path) -> None:
    for directory in parent.glob(f"{_PREFIX}*"):
        if (lock := _lock(directory)) is not None:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)


def _lock(directory: Path) -> int | None:
    """None: a living process has it, or it is somebody else's, or gone."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
