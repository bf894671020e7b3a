"""Who looks at a session sees the steps of its running turn that are under way."""

import asyncio
import time
from collections.abc import AsyncIterator

from agent_node.run.steps_under_way import MOST_SHOWN
from agentring.agent import AgentEvent, Context
from agentring.ids import Epoch
from harness.attempts import Ran
from harness.sessions import EPOCH, Actor, acting
from harness.stores import RecordingStore


def shown(actor: Actor) -> list[tuple[str, int, int]]:
    running = actor.session.running
    assert running is not None
    return [(step.name, step.depth, step.attempt) for step in running.open_steps.shown()] if running.open_steps else []


async def test_open_steps_and_tools_are_shown_and_those_that_ended_are_not() -> None:
    ran, go, store = Ran(), asyncio.Event(), RecordingStore(durable=True)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def inner() -> str:
            ran.called("inner")
            await go.wait()
            return "inner"

        async def outer() -> str:
            return str(await ctx.tool("inner", inner))

        yield str(await ctx.step("done", ran.effect, "done"))
        yield str(await ctx.step("outer", outer))
        ran.called("past")
        await asyncio.Event().wait()

    before_ns = time.time_ns()
    async with acting(agent, store=store) as lost:
        await lost.submit("t")
        await ran.until_called("inner")
        assert shown(lost) == [("outer", 0, 1), ("inner", 1, 1)]
        assert lost.session.running is not None
        assert lost.session.running.open_steps is not None
        first, _ = lost.session.running.open_steps.shown()
        assert before_ns <= first.begin_time.ToNanoseconds() <= time.time_ns()
    async with acting(agent, store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        await ran.until_called("inner", 2)
        assert shown(owner) == [("outer", 0, 2), ("inner", 1, 2)]
        go.set()
        await ran.until_called("past")
        assert shown(owner) == []


async def test_of_many_the_oldest_are_shown() -> None:
    ran = Ran()

    async def waits(number: int) -> None:
        ran.called("waits")
        await asyncio.Event().wait()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await asyncio.gather(*(ctx.step(f"s{number}", waits, number) for number in range(MOST_SHOWN + 5)))
        yield ""

    async with acting(agent, store=RecordingStore(durable=True)) as actor:
        await actor.submit("t")
        await ran.until_called("waits", MOST_SHOWN + 5)
        assert [name for name, *_ in shown(actor)] == [f"s{number}" for number in range(MOST_SHOWN)]
