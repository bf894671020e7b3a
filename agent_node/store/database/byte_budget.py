"""Bounds how many bytes are on their way to the database at a time.

Guarantees: those who wait come in the order of their coming, so that a large write is not passed by small ones for
ever; one that is larger than all that may be under way goes alone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """Of one store."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._taken_bytes = 0
        self._turn = asyncio.Lock()
        """Of the one who waits for bytes."""
        self._given_back = asyncio.Event()

    @asynccontextmanager
    async def taken(self, size_bytes: int) -> AsyncIterator[None]:
        """The body has so many bytes under way. Cancellation: what it has taken is given back."""
        size_bytes = min(size_bytes, self._most_bytes)
        async with self._turn:
            while self._taken_bytes + size_bytes > self._most_bytes:
                self._given_back.clear()
                await self._given_back.wait()
            self._taken_bytes += size_bytes
        try:
            yield
        finally:
            self._taken_bytes -= size_bytes
            self._given_back.set()
