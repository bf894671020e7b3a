"""How a session writes to its store: one write at a time, only while it may, and none once a write has failed.

Guarantees: writes go in the order in which they were asked for; nothing is written, and nothing that follows a write is
published, once the log has ended or the lease may have expired. Where a write fails nobody knows what the store has:
every later check raises the same error.

This order of writes is not the session's lock: an interrupt holds the lock until the turn that it interrupts has stored
its end.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType


class FencedWriter:
    """The writes of one session. Each is an `async with` around the call of the store, and around nothing else that may
    raise."""

    __slots__ = ("_check", "_failed", "_failure", "_writing")

    def __init__(self, check: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """check: raises if nothing may be stored or published any more; failed: is called with the first failure."""
        self._check = check
        self._failed = failed
        self._failure: Exception | None = None
        self._writing = asyncio.Lock()

    def check(self) -> None:
        """Raises what a write failed with; otherwise what says that nothing may be stored or published any more."""
        if self._failure is not None:
            raise self._failure
        self._check()

    async def __aenter__(self) -> None:
        await self._writing.acquire()
        try:
            self.check()
        except Exception:
            self._writing.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._failure = error
            self._failed(error)
        self._writing.release()
        if error is None:
            self.check()  # what follows is published
