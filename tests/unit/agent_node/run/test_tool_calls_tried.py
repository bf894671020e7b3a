"""How a Tool says that it is called: its time, its tries, and how many at a time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent_node.run.outcome import Failed
from agentring.agent import AgentEvent, Context, Retry, Tool
from harness.attempts import Ran, Run
from harness.shown_tools import shown


@pytest.fixture
def ran() -> Ran:
    return Ran()


async def test_a_tool_is_tried_again_within_its_time(ran: Ran) -> None:
    async def flaky(city: str, *, idempotency_key: str) -> str:
        ran.called(idempotency_key)
        if ran.calls[idempotency_key] == 2:
            await asyncio.Event().wait()
        if ran.calls[idempotency_key] < 4:
            raise ConnectionError
        return city

    made = Tool(flaky, timeout_s=0.01, retry=Retry(most_tries=4, first_wait_s=0.0))

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield await ctx.call_tool(made, {"city": "Oslo"})

    run = Run(agent)
    assert await run.to_the_end() == "Oslo"
    assert list(ran.calls.values()) == [4]
    assert [kind for _, kind in shown(run)] == [{"city": "Oslo"}, "string_value"]


async def test_the_last_error_of_a_tool_is_its_own_and_a_wrong_type_is_not_tried_again(ran: Ran) -> None:
    async def broken() -> None:
        ran.called("broken")
        raise ConnectionError("away")

    async def odd() -> Any:
        ran.called("odd")
        return ran

    again_twice = Retry(most_tries=2, first_wait_s=0.0)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with pytest.raises(ConnectionError, match="away"):
            await ctx.call_tool(Tool(broken, retry=again_twice), {})
        yield ""
        await ctx.call_tool(Tool(odd, retry=again_twice), {})

    outcome = await Run(agent).attempt()
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.detail) == ("RESULT_INVALID", "result of the tool odd $: Ran")
    assert ran.calls == {"broken": 2, "odd": 1}


async def test_a_tool_runs_as_often_at_a_time_as_it_says(ran: Ran) -> None:
    most = now = 0

    async def busy(number: int) -> int:
        nonlocal most, now
        now += 1
        most = max(most, now)
        for _ in range(3):
            await asyncio.sleep(0)
        now -= 1
        return number

    limited = Tool(busy, concurrency=2)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        numbers = await asyncio.gather(*(ctx.call_tool(limited, {"number": number}) for number in range(6)))
        yield f"{numbers}"

    assert await Run(agent).to_the_end() == "[0, 1, 2, 3, 4, 5]"
    assert most == 2
