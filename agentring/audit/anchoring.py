"""Has the head of a process's chain kept elsewhere, so that lines which are cut off its end are missed.

Guarantees: a head is handed on within EVERY_S of its being kept by the disk, and once more at the end; while it cannot
be, the process says so and goes on. Nodes keep heads in the store; routers, which have none, have a node keep theirs.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from agentring.audit.access_log import AccessLog
from agentring.audit.chain import Head
from agentring.errors import AgentringError, StoreUnavailable

EVERY_S = 10.0
_AT_ONCE_S = 3.0
"""Deadline of one, which is the store's own or a call's; this one stands behind them."""

Keep = Callable[[Head], Awaitable[None]]
"""Has a head kept. Raises AgentringError, and OSError where certificates for the call cannot be read."""

_log = structlog.get_logger()


class Anchor:
    """Of one access log. Resource handling: one task must run `run()`; `close()` ends the log too."""

    def __init__(self, access: AccessLog, keep: Keep, sleep: Callable[[float], Awaitable[None]]) -> None:
        """sleep: the process's clock's."""
        self._access = access
        self._keep = keep
        self._sleep = sleep
        self._kept: Head | None = None
        self.failing = False
        """Whether the newest head could not be kept."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._sleep(EVERY_S)
            await self.keep()

    async def keep(self) -> None:
        """Has the head kept, if it is another one. Cancellation: it may have been kept."""
        head = self._access.head
        if head == self._kept or not head.lines:
            return
        try:
            async with asyncio.timeout(_AT_ONCE_S):
                await self._keep(head)
        except (AgentringError, OSError) as error:  # OSError: of TimeoutError, too
            if not self.failing:
                reason = error.reason if isinstance(error, AgentringError) else type(error).__name__
                _log.warning("access_log_not_anchored", reason=reason, lines=head.lines)
            self.failing = True
            return
        self._kept, self.failing = head, False

    async def close(self) -> None:
        """Ends the log, and has its last head kept."""
        await asyncio.to_thread(self._access.close)
        await self.keep()


async def no_store_keeps_heads(_head: Head) -> None:
    """In place of a store where sessions are kept in memory. Raises StoreUnavailable."""
    raise StoreUnavailable
