"""A file of an operator's that a process reads at its start, and again whenever it has changed.

Guarantees: what is in use was parsed as a whole; a later version that cannot be read or parsed is reported once and
changes nothing. The file is read and parsed on a thread, so neither a file system that hangs nor a file of megabytes
holds a call up, or a lease's renewal. Changes are seen by content: a copy with an old date, a link that was turned, and
a mounted volume's swap are noticed, too.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

POLL_S = 1.0
MAX_BYTES = 4 << 20

_log = structlog.get_logger()
Parsed = TypeVar("Parsed")


class FileRefused(Exception):
    """A file cannot be used: which one, where in it, and what is wrong."""


class PolledFile(Generic[Parsed]):
    """One file, and what it says now."""

    def __init__(self, path: Path, parse: Callable[[bytes], Parsed]) -> None:
        """parse: called on another thread later; raises ValueError, with what is wrong. Raises FileRefused."""
        self.path = path
        self._parse = parse
        self._content = self._read()
        self.current = self._parsed(self._content)
        """As of the latest version that could be used."""

    async def poll(self, sleep: Callable[[float], Awaitable[None]], changed: Callable[[], None] = lambda: None) -> None:
        """Looks at the file every POLL_S seconds, until cancelled. changed: called once another version is in use."""
        refused: str | None = None
        tried: bytes | None = None
        while True:
            await sleep(POLL_S)
            try:
                content = await asyncio.to_thread(self._read)
                if content != self._content:
                    if content == tried:
                        continue  # it was refused, and that was said
                    tried = content
                    self.current = await asyncio.to_thread(self._parsed, content)
                    self._content = content
                    _log.info("file_reloaded", path=str(self.path))
                    changed()
                refused = tried = None
            except FileRefused as error:
                if str(error) != refused:
                    _log.error("file_not_reloaded", error=str(error))
                refused = str(error)

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise FileRefused(f"{self.path} cannot be read: {error.strerror or error}") from None
        if len(content) > MAX_BYTES:
            raise FileRefused(f"{self.path} has more than the {MAX_BYTES} bytes that are read")
        return content

    def _parsed(self, content: bytes) -> Parsed:
        try:
            return self._parse(content)
        except ValueError as error:
            raise FileRefused(f"{self.path}: {error}") from None
