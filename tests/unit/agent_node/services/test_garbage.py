"""A stream's turn leaves nothing for the garbage collector: nodes run without it for long."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import Any

import pytest

from agentring.agent import Agent, AgentEvent, Context, Result, StepFailed, agent
from harness.calls import FakeConversation
from harness.sessions import acting

OURS = ("agent_node.", "agentring.")


async def shout(word: str) -> str:
    return word.upper()


async def counting(ctx: Context) -> AsyncIterator[AgentEvent]:
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1
    for word in ("a ", "few ", "words"):
        yield word
        await asyncio.sleep(0)
    yield Result({"turns": ctx.state["turns"]})


async def with_a_tool(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield await ctx.tool("shout", shout, word=ctx.input_text)


async def fail(word: str) -> str:
    raise ValueError(word)


async def words(word: str) -> AsyncIterator[str]:
    yield word


@agent
async def with_all(ctx: Context) -> AsyncIterator[AgentEvent]:
    assert len([message async for message in ctx.messages()]) % 3 == 0
    with ctx.scope("all"):
        yield await ctx.step("shout", shout, ctx.input_text)
    async for word in ctx.stream_step("words", words, ctx.input_text):
        yield word
    await ctx.storage.put("key", b"value")
    ctx.emit("seen", {"at": str(await ctx.now()), "id": str(ctx.uuid()), "random": ctx.random()})
    with suppress(ValueError):
        await ctx.tool("fail", fail, word="no")
    with suppress(StepFailed):
        await ctx.step("fail", fail, "no")


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def garbage() -> list[str]:
    """What of ours can only be freed by the collector. Asks no object what it is: other tests' may answer as they
    like."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return sorted(filter(None, map(_named, gc.garbage)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def _named(found: object) -> str | None:
    kind = type(found)
    of: Any = found if kind is FunctionType else kind
    module = str(of.__module__)
    return f"{module}.{of.__qualname__}" if module.startswith(OURS) else None


def ended(stream: FakeConversation, count: int) -> bool:
    return len(stream.of("turn_completed")) == count


@pytest.mark.parametrize("agent", [counting, with_a_tool, with_all])
async def test_a_turn_that_a_stream_has_had_is_gone(agent: Agent) -> None:
    async with acting(agent) as actor:
        stream = FakeConversation(actor.session)
        stream.open()
        for count in range(1, 4):
            stream.turn(f"t{count}")
            await stream.until(partial(ended, stream, count))
        assert garbage() == []
        stream.close()
        await stream.served
