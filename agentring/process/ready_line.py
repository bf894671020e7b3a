"""The ready line: how a process says that it serves, and where, to the one that started it.

It is one JSON line, `{"ready": true, "address": "host:port", "pid": 1, ...}`, on the stdout that the process was
started with. Guarantees: nothing else goes there. The process takes its stdout for itself when it starts; what an
agent, a library or a child process prints from then on goes to stderr, where the log is, and no child process inherits
the stream. Who waits for the line waits for the process's end as well, since a pipe's end is not a process's end, and
passes over other lines, which come from before our code runs (a `sitecustomize`).

`ReadyLine` is for the process (agentring/process/entry.py), `ReadyPipe` for the one that starts it: `agentring up` and
`python -m router --workers`.
"""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from agentring.process import forks
from agentring.process.descriptors import fill_standard_fds

_MAX_LINE_BYTES = 1 << 20
_READ_BYTES = 1 << 16


class ReadyLine:
    """The stream of the ready line, taken from the process's stdout. Resource handling: `write` closes it."""

    def __init__(self) -> None:
        """From here on stdout is stderr."""
        fill_standard_fds()
        self._fd = os.dup(1)  # not inherited through exec
        forks.close_in_children(self._fd)
        os.dup2(2, 1)
        if sys.stdout is not None:
            # What an agent prints stands in the log when it is printed, and is no reason to fail.
            sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]

    def write(self, **fields: object) -> None:
        """Writes it. That nobody reads it any more is no reason to fail."""
        with suppress(OSError):
            os.write(self._fd, json.dumps({"ready": True, **fields}).encode() + b"\n")
        forks.forget(self._fd)
        os.close(self._fd)


class ReadyPipe:
    """The pipe that a process is given as its stdout. Resource handling: `close`, in the process that waits."""

    def __init__(self) -> None:
        """Both ends are open."""
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._open = {self._read_end, self.write_end}
        self._read = b""

    def handed_over(self) -> None:
        """The process has its end; ours is closed."""
        self._close(self.write_end)

    def close(self) -> None:
        """Closes what is open."""
        for fd in list(self._open):
            self._close(fd)

    async def line(self, ended: Coroutine[Any, Any, object]) -> dict[str, Any] | None:
        """The ready line; None: the process has ended without one. ended: returns with the process's end."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[dict[str, Any]] = loop.create_future()
        ending = loop.create_task(ended)

        def look() -> None:
            line, more = self._look()
            if line is not None and not found.done():
                found.set_result(line)
            if line is not None or not more:
                loop.remove_reader(self._read_end)

        loop.add_reader(self._read_end, look)
        try:
            either: list[asyncio.Future[Any]] = [found, ending]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                ending.result()
            return found.result() if found.done() else self._look()[0]
        finally:
            ending.cancel()
            loop.remove_reader(self._read_end)

    def _look(self) -> tuple[dict[str, Any] | None, bool]:
        """The ready line, if it has come, and whether more may come."""
        while True:
            try:
                piece = os.read(self._read_end, _READ_BYTES)
            except BlockingIOError:
                return None, True
            if not piece:
                return None, False
            *lines, rest = (self._read + piece).split(b"\n")
            self._read = rest[-_MAX_LINE_BYTES:]
            for line in lines:
                if (fields := _parse(line)) is not None:
                    return fields, True

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.remove(fd)
            os.close(fd)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and fields.get("ready") is True else None
