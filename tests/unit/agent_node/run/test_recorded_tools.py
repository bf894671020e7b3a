"""Tools are steps: one that has ended is not called again in a later attempt, and is shown as it was."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import pytest

from agent_node.run.outcome import Completed, Failed
from agentring.agent import Agent, AgentEvent, Context, Retry, StepUnknown, ToolArgumentInvalid, tool
from harness.attempts import Attempt, Ran, Run
from harness.shown_tools import shown


@pytest.fixture
def ran() -> Ran:
    return Ran()


def two(ran: Ran) -> Agent:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for name in "ab":
            yield await ctx.tool(name, ran.effect, name=name)

    return agent


@pytest.mark.parametrize("dies_at", [1, 1.5, 2, 2.5])
async def test_a_tool_that_ended_is_not_called_again_and_is_shown_again(ran: Ran, dies_at: float) -> None:
    run = Run(two(ran))
    assert await run.attempt(dies_at) is None
    first = shown(run)
    landed = int(dies_at) if dies_at % 1 else int(dies_at) - 1
    assert len(run.kept.rows) == landed
    assert await run.to_the_end() == "ab"
    cut_off = "ab"[landed] if landed < int(dies_at) else ""
    assert ran.calls == {name: 1 + (name == cut_off) for name in "ab"}
    assert shown(run)[: len(first) - 1] == first[:-1]
    assert [kind for _, kind in shown(run)[1::2]] == ["string_value"] * 2


async def test_the_same_call_has_the_same_call_id_in_every_attempt_and_in_no_other(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for _ in range(2):
            await ctx.tool("equal", ran.effect, name="x")
        await ctx.step("equal", ran.effect, "x")
        yield ""

    run = Run(agent)
    await run.attempt(3)
    first = shown(run)
    await run.to_the_end()
    assert shown(run) == first
    assert len({call_id for call_id, _ in first}) == 2
    assert ran.calls == {"x": 4}


async def test_equal_tools_may_run_beside_each_other(ran: Ran) -> None:
    async def roll() -> int:
        ran.called("roll")
        number = ran.calls["roll"]
        await asyncio.sleep(0)
        return number

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        rolled = await asyncio.gather(*(ctx.tool("roll", roll) for _ in range(3)))
        await ctx.tool("next", ran.effect, name="next")
        yield f"{rolled}"

    run = Run(agent)
    assert await run.attempt(2) is None
    assert await run.to_the_end() == "[1, 2, 3]"
    assert ran.calls == {"roll": 3, "next": 2}


async def test_a_tool_that_its_agent_cancels_is_cancelled_again(ran: Ran) -> None:
    async def waits() -> None:
        ran.called("waits")
        await asyncio.Event().wait()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            async with asyncio.timeout(0.01):
                await ctx.tool("waits", waits)
        except TimeoutError:
            yield await ctx.tool("next", ran.effect, name="next")

    run = Run(agent)
    assert await run.attempt(2) is None
    first = shown(run)
    assert await run.to_the_end() == "next"
    assert ran.calls["waits"] == 1
    assert first[1][1] == "TOOL_CANCELLED"
    assert shown(run)[:2] == first[:2]


@tool(idempotent=False)
async def charge(ctx: Context, amount: int) -> str:
    """Charges."""
    PAID.append(amount)
    await asyncio.sleep(0)
    return f"paid {amount}"


PAID: list[int] = []


async def test_a_tool_that_must_not_run_twice_is_unknown_where_it_was_cut_off() -> None:
    PAID.clear()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            yield await ctx.call_tool(charge, {"amount": 7})
        except StepUnknown as unknown:
            yield f"{unknown.name} is unknown"

    run = Run(agent)
    assert await run.attempt(2) is None  # its start has landed, its outcome has not
    assert PAID == [7]
    for _ in range(2):
        assert await run.to_the_end() == "charge is unknown"
        assert [kind for _, kind in shown(run)] == [{"amount": 7}, "TOOL_UNKNOWN"]
    assert PAID == [7]


async def test_the_models_own_id_tells_equal_calls_apart(ran: Ran) -> None:
    @tool
    async def roll() -> int:
        """Rolls."""
        ran.called("roll")
        return ran.calls["roll"]

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        order = ("call_1", "call_2") if ctx.attempt == 1 else ("call_2", "call_1")
        rolled = {key: await ctx.call_tool(roll, {}, key=key) for key in order}
        await ctx.step("next", ran.effect, "next")
        yield f"{sorted(rolled.items())}"

    run = Run(agent)
    assert await run.attempt(3) is None
    outcome = await run.attempt()  # another order is another way
    assert isinstance(outcome, Failed)
    assert outcome.reason == "STEP_DIVERGED"
    assert ran.calls["roll"] == 2


async def test_a_token_of_the_owner_is_no_argument(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        key = f"{ctx.idempotency_key}/{ctx.attempt}"
        yield await ctx.tool("pay", pay, amount=7, fencing_token=ctx.attempt, idempotency_key=key)
        await ctx.step("next", ran.effect, "next")

    async def pay(amount: int, fencing_token: int, idempotency_key: str) -> str:
        ran.called("pay")
        return f"{amount} {fencing_token}"

    run = Run(agent)
    assert await run.attempt(2) is None
    assert await run.to_the_end() == "7 1"
    assert ran.calls["pay"] == 1


async def test_a_tool_inside_a_step_is_asked_for_only_while_the_step_is_open(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def both() -> str:
            inner = await ctx.tool("inner", ran.effect, name="inner")
            more = await ctx.tool("more", ran.effect, name="more")
            return f"{inner}{more}"

        yield await ctx.step("outer", both)
        await ctx.step("next", ran.effect, "next")

    run = Run(agent)
    assert await run.attempt(2) is None  # the inner one has landed
    assert await run.attempt(3) is None  # the outer one has landed
    assert await run.to_the_end() == "innermore"
    assert ran.calls == {"inner": 1, "more": 2, "next": 2}


async def test_a_lease_that_ends_meanwhile_records_nothing(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield await ctx.tool("held", ran.effect, name="held")

    run = Run(agent)

    async def closed(attempt: Attempt, running: "asyncio.Task[Completed | Failed]") -> None:
        attempt.held = asyncio.Event()
        await attempt.reached.wait()
        running.cancel()
        attempt.held.set()

    await run.attempt(meanwhile=closed)
    assert [kind for _, kind in shown(run)] == [{"name": "held"}, "TOOL_CANCELLED"]


async def test_a_tool_whose_key_another_one_holds_is_called_again_and_shown_once(ran: Ran) -> None:
    async def add(ctx: Context, number: int) -> int:
        ran.called(number)
        before = int(await ctx.storage.get("sum") or b"0")
        await asyncio.sleep(0)
        await ctx.storage.put("sum", str(before + number).encode())
        return number

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await asyncio.gather(*(ctx.tool("add", partial(add, ctx), number=number) for number in (1, 2)))
        yield f"{await ctx.storage.get('sum')!r}"

    run = Run(agent)
    assert await run.to_the_end() == "b'3'"
    assert ran.calls[2] > 1
    assert len(shown(run)) == 4


async def test_what_a_failed_try_of_a_tool_has_stored_is_not_stored(ran: Ran) -> None:
    @tool(retry=Retry(most_tries=2, first_wait_s=0.0))
    async def add(ctx: Context) -> int:
        """Adds one."""
        before = int(await ctx.storage.get("sum") or b"0")
        await ctx.storage.put("sum", str(before + 1).encode())
        ran.called("add")
        if ran.calls["add"] == 1:
            raise ConnectionError
        return before + 1

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield f"{await ctx.call_tool(add, {})}"

    run = Run(agent)
    assert await run.to_the_end() == "1"
    assert run.kept.stored() == {"sum": b"1"}


async def test_invalid_arguments_of_a_tool_within_a_tool_are_the_same_in_a_later_attempt(ran: Ran) -> None:
    async def outer(ctx: Context) -> None:
        ran.called("outer")
        await ctx.call_tool(charge, {"amount": "much"})

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            await ctx.tool("outer", partial(outer, ctx))
        except ToolArgumentInvalid:
            await ctx.step("next", ran.effect, "next")
            raise
        yield ""

    run = Run(agent)
    assert await run.attempt(2) is None
    outcome = await run.attempt()
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.detail) == (
        "TOOL_ARGUMENT_INVALID",
        "arguments of the tool charge $.amount: int_parsing",
    )
    assert ran.calls["outer"] == 1


async def test_a_tool_that_has_failed_leaves_no_circle_of_objects(ran: Ran) -> None:
    class Held(Exception):
        pass

    async def fails() -> None:
        raise Held

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with suppress(Held):
            await ctx.tool("fails", fails)
        gc.disable()
        found.append(sum(type(each) is Held for each in gc.get_objects()))
        gc.enable()
        yield ""

    found: list[int] = []
    await Run(agent).to_the_end()
    assert found == [0]
