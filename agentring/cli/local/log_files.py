"""The logs of a local cluster's processes, as lines.

Guarantees: a line is never cut, however it was written; what is read at once is bounded; a log that was begun anew is
read from its beginning. Called by `logs` and `dev`.
"""

import json
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchfiles import awatch

_MOST_BYTES = 1 << 20
"""Of one file that are read at once."""
_STEP_MS = 20
_TOGETHER_MS = 100
_LOOK_AGAIN_MS = 1_000


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log."""

    source: str
    """The process: n1, r1, etcd."""
    text: str
    fields: dict[str, Any] = field(default_factory=dict)
    """Of a line of our own processes; empty: it is somebody else's."""

    @property
    def time(self) -> str:
        """ISO 8601, UTC; empty: it says none."""
        return str(self.fields.get("timestamp", ""))


def parse(source: str, text: str) -> LogLine:
    """A line, without its end."""
    if text.startswith("{"):
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
        if isinstance(fields, dict) and "event" in fields:
            return LogLine(source, text, fields)
    return LogLine(source, text)


def sources(logs: Path) -> list[str]:
    """The processes that have a log there."""
    return sorted(path.stem for path in logs.glob("*.log"))


def read_lines(logs: Path, source: str) -> Iterator[LogLine]:
    """All lines of a process's log, and before them of the one before that."""
    for path in (logs / f"{source}.log.1", logs / f"{source}.log"):
        try:
            file = path.open(encoding="utf-8", errors="replace")
        except OSError:
            continue
        with file:
            for text in file:
                yield parse(source, text.rstrip("\n"))


def in_order(lines: Iterable[LogLine], last: int) -> list[LogLine]:
    """The last lines by their time; a line that says none stays behind the one before it. last: 0: all."""
    timed: deque[tuple[str, int, LogLine]] = deque()
    now = ""
    source = ""
    for number, line in enumerate(lines):
        now = line.time or (now if line.source == source else "")
        source = line.source
        timed.append((now, number, line))
    ordered = [line for _, _, line in sorted(timed, key=lambda each: each[:2])]
    return ordered[-last:] if last else ordered


class LogFollower:
    """Reads what is appended to the logs of a directory, from now on."""

    def __init__(self, logs: Path, names: Iterable[str] | None = None) -> None:
        """names: of the processes; None: of all, also those to come."""
        self._logs = logs
        self._names = None if names is None else list(names)
        self._places: dict[str, tuple[int, int]] = {}
        """Inode and offset by process."""
        self._rests: dict[str, bytes] = {}
        for name in self._sources():
            with self._opened(name) as found:
                if found is not None:
                    self._places[name] = (os.fstat(found).st_ino, os.fstat(found).st_size)

    def read(self) -> list[LogLine]:
        """The lines that have come."""
        return [line for name in self._sources() for line in self._read(name)]

    async def lines(self) -> AsyncIterator[list[LogLine]]:
        """The lines as they come, until cancelled."""
        changes = awatch(
            *(self._logs,),
            watch_filter=None,
            step=_STEP_MS,
            debounce=_TOGETHER_MS,
            rust_timeout=_LOOK_AGAIN_MS,
            yield_on_timeout=True,
            recursive=False,
        )
        async for _ in changes:
            while lines := self.read():
                yield lines

    def _sources(self) -> list[str]:
        return sources(self._logs) if self._names is None else self._names

    def _opened(self, name: str) -> "_Opened":
        return _Opened(self._logs / f"{name}.log")

    def _read(self, name: str) -> Iterator[LogLine]:
        with self._opened(name) as found:
            if found is None:
                return
            status = os.fstat(found)
            inode, offset = self._places.get(name, (status.st_ino, 0))
            if inode != status.st_ino or offset > status.st_size:
                offset = 0
                self._rests.pop(name, None)
            piece = os.pread(found, _MOST_BYTES, offset)
        self._places[name] = (status.st_ino, offset + len(piece))
        *whole, rest = (self._rests.pop(name, b"") + piece).split(b"\n")
        if len(rest) >= _MOST_BYTES:
            whole, rest = [*whole, rest], b""
        self._rests[name] = rest
        for text in whole:
            yield parse(name, text.decode("utf-8", "replace"))


class _Opened:
    """A descriptor of a file; None: it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def __enter__(self) -> int | None:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = None
        return self._fd

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            os.close(self._fd)
