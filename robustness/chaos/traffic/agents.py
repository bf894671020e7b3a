"""The agent that the clients under chaos speak with: it counts, so that whoever is told can see what was lost."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

from agentring.agent import AgentEvent, Context, OnceUnknown, Result, StepUnknown, tool
from harness.ending import ENDS
from robustness.chaos.validate.said_rules import digest

_LASTS_S = 0.005
"""A recorded step."""
_PIECES = 4
"""Of a streaming step."""
_EMITTED = 2
"""Events of each round."""
UNKNOWN = "unknown"
"""What a step came to that must not run twice and was cut off."""


async def counting(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Calls tools, runs recorded steps and says something `steps` times, `pace_s` apart; the result is the number of
    the session's turns, a name that no other run has, the hash of its words and how many events it emitted.

    `once`: the key of a step that takes `once_s` and has such a name, too, for its result; `twice`: whether it may run
    again where it was cut off. `block_s`: first holds the event loop up for so long, as no agent should, in its first
    attempt. `poison`: after its first step it ends its process as harness/ending.py says.
    """
    if ctx.attempt == 1:
        time.sleep(float(ctx.input_data.get("block_s", 0)))  # noqa: ASYNC251  that is what it is for
    words, steps = b"", int(ctx.input_data.get("steps", 1))
    for step in range(steps):
        await _tools(ctx, step)
        await _recorded(ctx, step)
        async for piece in _words(ctx, step):
            words += piece.encode()
            yield piece
        if poison := ctx.input_data.get("poison"):
            ENDS[str(poison)]()
        await asyncio.sleep(float(ctx.input_data.get("pace_s", 0.02)))
    once = await _once(ctx, str(key)) if (key := ctx.input_data.get("once")) else ""
    ctx.state["turns"] = int(ctx.state.get("turns", 0)) + 1
    said = {"words": digest(words), "emitted": _EMITTED * steps}
    yield Result({"number": ctx.state["turns"], "run": uuid.uuid4().hex, "once": once} | said)


async def _words(ctx: Context, number: int) -> AsyncIterator[str]:
    """What is said beside steps: words and events between them, and words of a streaming one, which are others in each
    attempt that calls it, perhaps while another step is recorded."""
    ctx.emit("begun", {"number": _EMITTED * number})
    yield f"{number}"
    if number % 3 == 1:
        async for piece in ctx.stream_step("words", _streamed, number):
            yield piece
    elif number % 3 == 2:
        beside = asyncio.ensure_future(ctx.step("beside words", _lasting, number))
        try:
            async for piece in ctx.stream_step("words", _streamed, number):
                yield piece
            yield await beside
        finally:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
    yield " "
    ctx.emit("ended", {"number": _EMITTED * number + 1})


async def _streamed(number: int) -> AsyncIterator[str]:
    for _ in range(_PIECES):
        await asyncio.sleep(_LASTS_S / 2)
        yield f"{number}é{uuid.uuid4().hex[:8]}"


async def _tools(ctx: Context, number: int) -> None:
    """Tools, which are recorded, too: one, two equal ones side by side, or one that must not run twice."""
    match number % 3:
        case 0:
            await ctx.tool("step", _step)
        case 1:
            await asyncio.gather(*(ctx.call_tool(_look_up, {"number": number}) for _ in "ab"))
        case _:
            with suppress(StepUnknown):
                await ctx.call_tool(_pay, {"number": number})


async def _recorded(ctx: Context, number: int) -> None:
    """Recorded steps: one, two side by side, or one with another inside that must not run twice."""
    match number % 3:
        case 0:
            await ctx.step("alone", _lasting, number)
        case 1:
            await asyncio.gather(*(ctx.step("beside", _lasting, number, half) for half in "ab"))
        case _:
            await ctx.step("outer", partial(_outer, ctx), number)


async def _outer(ctx: Context, number: int) -> str:
    try:
        return str(await ctx.step("once", _lasting, number, idempotent=False))
    except StepUnknown:
        return UNKNOWN


@tool(concurrency=16)
async def _look_up(number: int) -> str:
    """Lasts as a step does."""
    return await _lasting(number)


@tool(idempotent=False)
async def _pay(number: int) -> str:
    """Must not run twice."""
    return await _lasting(number)


async def _lasting(number: int, half: str = "") -> str:
    await asyncio.sleep(_LASTS_S)
    return f"{number}{half}"


async def _once(ctx: Context, key: str) -> str:
    async def run(*, idempotency_key: str, fencing_token: int) -> str:
        await asyncio.sleep(float(ctx.input_data.get("once_s", 0.05)))
        return f"{idempotency_key} {fencing_token}"

    try:
        return str(await ctx.once(key, run, idempotent=bool(ctx.input_data.get("twice", True))))
    except OnceUnknown:
        return UNKNOWN


async def _step() -> None:
    """Does nothing: what counts is that it was recorded."""
