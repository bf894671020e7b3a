"""The agent that is halted: it begins one step after the other, and never ends by itself."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

from agentring.agent import AgentEvent, Context

_STEP_S = 0.02


async def stepping(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Each step takes _STEP_S."""
    for number in count():
        await ctx.step("step", _lasting, number)
        if number < 0:
            yield ""


async def _lasting(number: int) -> int:
    await asyncio.sleep(_STEP_S)
    return number
