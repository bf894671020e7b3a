"""When the calls of one connection may send their next message.

Guarantees that each call sends one message a write of the connection and no more, so that no call's messages hold up
those of the others, and more of them leave together. Owned by ServiceConnection; used by its streams.
"""

from __future__ import annotations

import asyncio


class Pacing:
    """The writes of one connection, and who waits for the next."""

    __slots__ = ("_waiting", "writes")

    def __init__(self) -> None:
        """Nothing is written yet."""
        self.writes = 0
        """How many there were."""
        self._waiting: list[asyncio.Future[None]] = []

    def wait(self, written: asyncio.Future[None]) -> None:
        """Resolves the future at the next write."""
        self._waiting.append(written)

    def wrote(self) -> None:
        """The connection has written what it had."""
        self.writes += 1
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for written in waiting:
                if not written.done():
                    written.set_result(None)
