"""The node's memory, where its operator has said how much it may take.

Guarantees: beyond the limit sessions that have been idle longest are passivated, a part of them at a time, until the
process takes less or none is idle; meanwhile a new session is taken only where an idle one was passivated for it, and
refused on a volatile store, where none can be. Does not guarantee that the process never takes more: sessions that
are in use stay, and what Python has freed it may keep for itself. Owned by the incarnation.
"""

from collections.abc import Callable

import psutil
import structlog

from agent_node.session.passivation import IdleEvictor
from agentring.cluster.clock import Clock

_LOOK_EVERY_S = 1.0
_AT_A_LOOK = 8
"""How often sessions are evicted, each time as many as a full node evicts at once."""

_log = structlog.get_logger()


def resident_bytes() -> int:
    """What this process takes of the machine's memory."""
    return int(psutil.Process().memory_info().rss)


class MemoryLimit:
    """What one node may take."""

    def __init__(self, limit_bytes: int, taken_bytes: Callable[[], int] = resident_bytes) -> None:
        """limit_bytes: 0: there is none."""
        self._limit_bytes = limit_bytes
        self._taken_bytes = taken_bytes
        self.is_exceeded = False
        """At the last look."""

    async def keep(self, clock: Clock, evictor: IdleEvictor | None) -> None:
        """Looks every second, until cancelled. evictor: None: sessions cannot be passivated."""
        while self._limit_bytes:
            await clock.sleep(_LOOK_EVERY_S)
            self._look()
            for _ in range(_AT_A_LOOK):
                if not self.is_exceeded or evictor is None or not await evictor.evict():
                    break
                self._look()

    def _look(self) -> None:
        taken_bytes = self._taken_bytes()
        is_exceeded = taken_bytes > self._limit_bytes
        if is_exceeded != self.is_exceeded:
            _log.warning("memory_limit", exceeded=is_exceeded, taken_mib=taken_bytes >> 20)
        self.is_exceeded = is_exceeded
