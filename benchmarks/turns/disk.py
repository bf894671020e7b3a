"""What the disk takes to keep a page: the least that a durable turn can wait for."""

import os
import statistics
import tempfile
import time
from pathlib import Path

_PAGE_BYTES = 4096
_SAMPLES = 41


def fsync_ms(directory: Path) -> float:
    """The median of some appends of a page to a file there, each with fdatasync, as the log of SQLite is kept."""
    page = os.urandom(_PAGE_BYTES)
    with tempfile.NamedTemporaryFile(dir=directory, buffering=0) as file:
        return statistics.median(_kept_ms(file.fileno(), page) for _ in range(_SAMPLES))


def _kept_ms(file: int, page: bytes) -> float:
    began_s = time.perf_counter()
    os.write(file, page)
    os.fdatasync(file)
    return (time.perf_counter() - began_s) * 1000
