"""Well-behaved clients beside an attack: all that they ask must be answered.

How fast is for scripts/abuse to measure.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.abuse import session_id
from harness.client import connect, run_turn, turn
from harness.streams import Conversation

MAX_S = 8.0
"""No turn may take longer, on however slow a machine."""
_PAUSE_S = 0.01


@asynccontextmanager
async def neighbours(router: str) -> AsyncIterator[None]:
    """A conversation and a client of short calls, at work as long as this lasts. A turn that fails fails the test."""
    talking = [asyncio.create_task(_converse(router)), asyncio.create_task(_call(router))]
    try:
        yield
        await asyncio.sleep(_PAUSE_S)
        for one in talking:
            if one.done():
                one.result()
    finally:
        for one in talking:
            one.cancel()
        await asyncio.wait(talking)


async def _converse(router: str) -> None:
    async with connect(router) as channel:
        conversation = Conversation(channel)
        await conversation.open(session_id())
        while True:
            async with asyncio.timeout(MAX_S):
                await conversation.until("turn_completed", await conversation.turn(turn("hello")))
            conversation.responses.clear()
            await asyncio.sleep(_PAUSE_S)


async def _call(router: str) -> None:
    own = session_id()
    async with connect(router) as channel:
        while True:
            begun_s = time.monotonic()
            received = await run_turn(channel, own, turn("hello"))
            assert received.text == "hello"
            assert time.monotonic() - begun_s < MAX_S
            await asyncio.sleep(_PAUSE_S)
