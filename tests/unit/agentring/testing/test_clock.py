"""The test's clock: what goes by it, and what does not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from agentring.agent import AgentEvent, Context, Retry, StepFailed
from agentring.testing import AgentTest, TestClock


async def test_it_stands_still_and_goes_on_as_the_test_says() -> None:
    clock = TestClock(datetime(2026, 3, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now == datetime(2026, 3, 1, tzinfo=UTC)
    began_s, began_ns = clock.now_s(), clock.now_ns()
    clock.advance(days=1, hours=1, minutes=1, seconds=1.5)
    assert clock.now == datetime(2026, 3, 2, 1, 1, 1, 500_000, tzinfo=UTC)
    assert clock.now_s() - began_s == 90_061.5
    assert clock.now_ns() - began_ns == 90_061_500_000_000
    with pytest.raises(ValueError, match="never back"):
        clock.advance(days=-1)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        TestClock(datetime(2026, 3, 1))


async def test_a_step_that_is_tried_again_waits_no_time_and_moves_the_clock() -> None:
    async def failing() -> None:
        raise ConnectionError("no")

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            await ctx.step("call", failing, retry=Retry(most_tries=3, first_wait_s=100, most_wait_s=1_000))
        except StepFailed as error:
            yield f"{error.type_name} {await ctx.now() > datetime(2026, 1, 1, 0, 2, tzinfo=UTC)}"

    async with AgentTest(agent) as t:
        assert (await t.turn()).text == "ConnectionError True"
        first_s, second_s = t.clock.waits
        assert 50 <= first_s <= 100 <= second_s <= 200
        took = t.clock.now - datetime(2026, 1, 1, tzinfo=UTC)
        assert took.total_seconds() == pytest.approx(first_s + second_s, abs=1e-5)


async def test_a_time_out_of_a_step_comes_when_the_clock_is_moved() -> None:
    begun = asyncio.Event()

    async def hanging() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            await ctx.step("call", hanging, timeout_s=3_600)
        except StepFailed as error:
            yield error.type_name

    async with AgentTest(agent) as t:
        turn = asyncio.create_task(t.turn())
        await begun.wait()
        t.clock.advance(minutes=59)
        assert not turn.done()
        t.clock.advance(minutes=2)
        assert (await turn).text == "TimeoutError"


async def test_what_once_has_run_is_replayed_until_its_retention_is_over() -> None:
    calls: list[str] = []

    async def charge(idempotency_key: str, fencing_token: int) -> int:
        calls.append(idempotency_key)
        return len(calls)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.once("order-7", charge))

    async with AgentTest(agent) as t:
        assert (await t.turn()).text == "1"
        t.clock.advance(minutes=59)
        assert (await t.turn()).text == "1"
        t.clock.advance(minutes=2)
        assert (await t.turn()).text == "2"
