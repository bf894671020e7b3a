"""How many calls of a tool run at a time on one node (`concurrency=`); further ones wait, first come first served.

A run in a child process has limits of its own. Used by tool_calls.py.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

from agentring.agent import Tool


class ToolPlaces:
    """Of all runs of one incarnation of the node."""

    def __init__(self) -> None:
        self._limits: WeakKeyDictionary[Tool[..., Any], asyncio.Semaphore] = WeakKeyDictionary()

    def place(self, tool: Tool[..., Any]) -> AbstractAsyncContextManager[Any]:
        """Entered when the tool may be called. Cancellation: it takes no place."""
        if tool.concurrency is None:
            return nullcontext()
        limit = self._limits.get(tool)
        if limit is None:
            limit = self._limits[tool] = asyncio.Semaphore(tool.concurrency)
        return limit
