"""Tools that run so often at a time (`concurrency=`), and what of that is recorded."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentring.agent import AgentEvent, Context, tool
from harness.attempts import Ran, Run


@pytest.fixture
def ran() -> Ran:
    return Ran()


async def test_a_tool_that_waits_for_its_place_has_not_begun(ran: Ran) -> None:
    @tool(idempotent=False, concurrency=1)
    async def pay(amount: int) -> int:
        """Pays."""
        return int(await ran.effect(amount))

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        calls = (ctx.call_tool(pay, {"amount": amount}) for amount in (1, 2))
        paid = await asyncio.gather(*calls, return_exceptions=True)
        yield " ".join(str(each) if isinstance(each, int) else type(each).__name__ for each in paid)

    run = Run(agent)
    assert await run.attempt(2) is None  # the first one was called
    assert ran.calls == {1: 1}
    assert await run.to_the_end() == "StepUnknown 2"
    assert ran.calls == {1: 1, 2: 1}


async def test_a_tool_needs_no_second_place_within_a_call_of_itself(ran: Ran) -> None:
    @tool(concurrency=1)
    async def countdown(ctx: Context, number: int) -> int:
        """Counts down."""
        ran.called(number)
        return int(await ctx.call_tool(countdown, {"number": number - 1})) if number else 0

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for _ in range(2):  # the place was left again
            yield f"{await ctx.call_tool(countdown, {'number': 2})}"

    assert await Run(agent).to_the_end() == "00"
    assert ran.calls == {2: 2, 1: 2, 0: 2}
