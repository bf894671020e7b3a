"""How many calls of a tool run at a time on one node (`concurrency=`); further ones wait, first come first served.

Guarantees: a call that is made within another one of the same tool needs no place of its own, for which it would wait
for ever. A run in a child process has limits of its own. Used by tool_calls.py.
"""

import asyncio
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from agentring.agent import Tool


class CallPlace:
    """Of one call."""

    def __init__(self, limit: asyncio.Semaphore, around: "CallPlace | None") -> None:
        """around: that of the call within which this one is made, whatever its tool."""
        self._limit = limit
        self._around = around
        self._is_taken = False

    async def take(self) -> None:
        """Returns when the tool may be called. Cancellation: it is not taken."""
        if not self._has(self._limit):
            await self._limit.acquire()
            self._is_taken = True
        _INNERMOST.set(self)

    def leave(self) -> None:
        """The call is over, whether it had the place or not."""
        if _INNERMOST.get() is self:
            _INNERMOST.set(self._around)
        if self._is_taken:
            self._is_taken = False
            self._limit.release()

    def _has(self, limit: asyncio.Semaphore) -> bool:
        around = self._around
        while around is not None:
            if around._is_taken and around._limit is limit:
                return True
            around = around._around
        return False


_INNERMOST: ContextVar[CallPlace | None] = ContextVar("agentring_tool_place", default=None)
"""That the current code is in."""


class ToolPlaces:
    """Of all runs of one incarnation of the node."""

    def __init__(self) -> None:
        self._limits: WeakKeyDictionary[Tool[..., Any], asyncio.Semaphore] = WeakKeyDictionary()

    def place(self, tool: Tool[..., Any]) -> CallPlace | None:
        """One for a call of the tool; None: it needs none."""
        if tool.concurrency is None:
            return None
        limit = self._limits.get(tool)
        if limit is None:
            limit = self._limits[tool] = asyncio.Semaphore(tool.concurrency)
        return CallPlace(limit, _INNERMOST.get())
