"""How a session writes to its store: once at a time, only while it may, and not at all once a write has failed.

Guarantees: what is asked for as one write follows what was asked for before; nothing is written, and nothing that
follows a write is told, where the check fails that the session was made with; where a write fails nobody knows what the
store has: `failed` is told, and every later check raises the same. Used by the session's turns.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from agent_node.single_flight import SingleFlight

T = TypeVar("T")


class FencedWriter:
    """The writes of one session."""

    __slots__ = ("_changes", "_failed", "_failure", "_may_write", "_writing")

    def __init__(
        self, may_write: Callable[[], None], changes: SingleFlight[Hashable, Any], failed: Callable[[Exception], None]
    ) -> None:
        """may_write: raises if nothing may be stored or told any more; changes: carries out what must not end half
        done; failed: told of the first failure."""
        self._may_write = may_write
        self._changes = changes
        self._failed = failed
        self._failure: Exception | None = None
        self._writing = asyncio.Lock()

    def check(self) -> None:
        """Raises what a write failed with, and what `may_write` raises."""
        if self._failure is not None:
            raise self._failure
        self._may_write()

    async def do(self, write: Callable[[], Awaitable[T]]) -> T:
        """Carries out a write. Raises as `check`, and what the store raises."""
        async with self._writing:
            self.check()
            try:
                written = await write()
            except Exception as error:
                self._failure = error
                self._failed(error)
                raise
        self.check()  # what follows is told
        return written

    async def to_end(self, write: Callable[[], Awaitable[int]], audit: Callable[[int], None]) -> None:
        """As `do`, for what a turn asks for, which may be cancelled meanwhile: writes still go one at a time, and what
        was stored is audited at once. audit: is given the write's commit number."""

        async def write_and_audit() -> None:
            audit(await self.do(write))

        await self._changes.get(object(), write_and_audit)
