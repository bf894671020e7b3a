"""Files and directories that their owner alone may read: what people said to agents, and what agents answered.

Guarantees: made so from the first moment on, whatever the umask is; what was there before, with more rights and ours,
is made so. What belongs to another user is left as it is. Used for the data directories of nodes and of `agentring up`,
what lies in them, the store's file and the audit log.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

_DIRECTORY = 0o700
_FILE = 0o600
_OTHERS = 0o077


def make_directory(path: Path) -> None:
    """The directory, with those above it that are missing. Raises OSError."""
    for missing in [each for each in reversed((path, *path.parents)) if not each.exists()]:
        with suppress(FileExistsError):
            missing.mkdir(_DIRECTORY)
    if not path.is_dir():
        path.mkdir()  # says what it is instead
    tighten(path)


def open_file(path: Path, flags: int) -> int:
    """A descriptor of the file, which is made if the flags say so. Raises OSError."""
    fd = os.open(path, flags | os.O_CLOEXEC, _FILE)
    try:
        tighten(path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_text(path: Path, text: str) -> None:
    """Writes the whole file. Raises OSError."""
    with os.fdopen(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as file:
        file.write(text)


def make_database(path: Path) -> None:
    """Makes an SQLite file before SQLite does, which gives its `-wal` and `-shm` the same rights. Those that are there
    are never opened here: closing a file takes its locks from every connection of this process. Raises OSError."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE))
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(FileNotFoundError):
            tighten(each)


def tighten(path: Path) -> None:
    """Takes others' rights away, if the file or directory is ours. Raises OSError where there is none."""
    found = path.stat()
    wanted = stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)
    if wanted and found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
        with suppress(PermissionError):
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
