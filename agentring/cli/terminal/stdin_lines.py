"""Lines from standard input, awaited on the event loop.

Works for a terminal, a pipe and a file alike. A thread blocked in readline would hold up the program's end until the
next Enter, so the descriptor itself is watched. Called by `chat`.
"""

import asyncio
import os

_READ_BYTES = 65_536


class StdinLines:
    """The lines of a descriptor, which stays open."""

    def __init__(self, fd: int) -> None:
        """Nothing is read yet."""
        self._fd = fd
        self._unread = b""
        self._at_end = False

    async def next(self) -> str | None:
        """The next line without its end, or None at the end of the input. A last line without an end counts.

        Cancellation: nothing that was read is lost.
        """
        while b"\n" not in self._unread and not self._at_end:
            await self._readable()
            more = os.read(self._fd, _READ_BYTES)
            self._unread += more
            self._at_end = not more
        if not self._unread:
            return None
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        try:
            loop.add_reader(self._fd, readable.set)
        except PermissionError:
            return  # a file cannot be watched, and never blocks
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._fd)
