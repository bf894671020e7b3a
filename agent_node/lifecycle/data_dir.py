"""A node's directory: its lock, so that one process uses it at a time, and its uuid, so that a restarted node can prove
to be its predecessor's successor. Called by the node's app."""

import fcntl
import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from agentring.process import forks, private_files


class DataDirInUse(Exception):
    """Another process holds the directory's lock."""

    def __init__(self, path: Path) -> None:
        """path: the directory."""
        super().__init__(f"data directory {str(path)!r} is in use by another process")


class DataDir:
    """A locked directory, made if it is missing. Resource handling: `with`; the lock goes with the process, whatever
    lives on of what it has started."""

    def __init__(self, path: Path) -> None:
        """Raises DataDirInUse, OSError."""
        private_files.make_directory(path)
        self._lock = private_files.open_file(path / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise DataDirInUse(path) from None
        forks.close_in_children(self._lock)
        uuid_file = path / "uuid"
        if not uuid_file.exists():
            # Renamed into place: a crash leaves no empty file behind.
            fresh = path / "uuid.new"
            private_files.write_text(fresh, str(uuid.uuid4()))
            fresh.replace(uuid_file)
        self.uuid = uuid_file.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        forks.forget(self._lock)
        os.close(self._lock)


def boot_id() -> str:
    """Names this boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
