"""Code that swallows every cancellation until the test lets it end. Set `let_end` before the test ends."""

import asyncio
from collections.abc import AsyncIterator

from agentring.agent import AgentEvent, Context


class Stubborn:
    """As a coroutine and as an agent."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.let_end = asyncio.Event()
        self.has_ended = asyncio.Event()

    async def run(self) -> None:
        self.begun.set()
        while not self.let_end.is_set():
            try:
                await self.let_end.wait()
            except asyncio.CancelledError:
                self.cancelled.set()

    async def agent(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        """Changes the state, says "begun ", and, once it is let, "late"."""
        ctx.state["stubborn"] = True
        try:
            yield "begun "
            await self.run()
            yield "late"
        finally:
            self.has_ended.set()
