"""A node's drain: asked for once, by a signal or by an operator's call, and seen while it goes on.

Guarantees: whoever asks first decides how long running turns may take; `done` is set once the node has left: nothing of
it is claimed any more and its lease is revoked. Unless the process ends, the node then waits (drained_registration.py).
Owned by the node's IncarnationSupervisor, which carries it out.
"""

import asyncio


class Drain:
    """Asked for, under way, done."""

    def __init__(self, timeout_s: float) -> None:
        """timeout_s: how long turns may go on, where nobody says otherwise."""
        self.timeout_s = timeout_s
        self.begun = asyncio.Event()
        self.done = asyncio.Event()

    def begin(self, timeout_s: float = 0.0) -> None:
        """Asks for it; a second time changes nothing. timeout_s: 0: as it was made."""
        if not self.begun.is_set():
            self.timeout_s = timeout_s or self.timeout_s
            self.begun.set()

    async def wait_done(self, timeout_s: float) -> bool:
        """Whether it was done within so many seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.done.wait()
        except TimeoutError:
            return False
        return True
