"""The access log of a process as its app uses it: opened from the settings, anchored while it serves, ended with it.

A key that cannot be used and a directory that cannot be written end the start. Called by the node's and the router's
app.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress

from agentring.audit.access_log import AccessLog
from agentring.audit.anchoring import Anchor, Keep
from agentring.audit.chain import read_key
from agentring.settings import ProcessSettings


class ProcessLog:
    """Resource handling: `close()`, once nothing is served any more and while heads can still be kept."""

    def __init__(self, log: AccessLog, keep: Keep, sleep: Callable[[float], Awaitable[None]]) -> None:
        """log: open; keep, sleep: as Anchor."""
        self.log = log
        self.anchor = Anchor(log, keep, sleep)
        self._anchoring = asyncio.get_running_loop().create_task(self.anchor.run())

    async def close(self) -> None:
        """Writes and anchors the end."""
        self._anchoring.cancel()
        with suppress(asyncio.CancelledError):
            await self._anchoring
        await self.anchor.close()


def open_process_log(
    settings: ProcessSettings, process: str, keep: Keep, sleep: Callable[[float], Awaitable[None]], stack: ExitStack
) -> ProcessLog | None:
    """None: the settings want none. process: as AccessLog; keep, sleep: as Anchor; stack: ends the log's thread where a
    start does not come as far as `close`. Raises BadKey, OSError."""
    if settings.access_log is None or settings.access_log_key is None:
        return None
    key = read_key(settings.access_log_key)
    log = AccessLog(settings.access_log, key, process, max_file_bytes=settings.access_log_file_mib << 20)
    stack.callback(log.close)
    return ProcessLog(log, keep, sleep)
