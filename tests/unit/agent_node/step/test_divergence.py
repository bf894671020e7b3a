"""An attempt that goes another way than those before it acts no more, and fails its run with the first difference."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from agent_node.run.outcome import Failed
from agentring.agent import AgentEvent, Context
from harness.attempts import Ran, Run

SHORT_S = 0.02


@pytest.fixture
def ran() -> Ran:
    return Ran()


def changing(ran: Ran, *ways: str, **pure: bool) -> Run:
    """Each attempt runs the steps of its way, the last one for good."""
    number = 0

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        nonlocal number
        way = ways[min(number, len(ways) - 1)]
        number += 1
        for name in way:
            yield await ctx.step(name, ran.effect, name, pure=pure.get(name, False))

    return Run(agent, step_wait_s=SHORT_S)


async def diverged(run: Run) -> str:
    """The first difference."""
    outcome = await run.attempt()
    assert isinstance(outcome, Failed)
    assert outcome.reason == "STEP_DIVERGED"
    return outcome.detail


async def test_another_step_does_not_begin_while_a_recorded_one_was_not_asked_for(ran: Ran) -> None:
    run = changing(ran, "abc", "axc")
    assert await run.attempt(3) is None
    assert await diverged(run) == "the step x begins, but the step b, recorded by attempt 1, is not asked for"
    assert ran.calls == {"a": 1, "b": 1, "c": 1}


async def test_an_end_before_all_that_is_recorded_was_asked_for_is_a_difference(ran: Ran) -> None:
    run = changing(ran, "abc", "a")
    assert await run.attempt(3) is None
    assert await diverged(run) == "the step b, recorded by attempt 1, is not asked for"


async def test_so_is_an_attempt_without_any_step(ran: Ran) -> None:
    run = changing(ran, "abc", "")
    assert await run.attempt(3) is None
    assert await diverged(run) == "the step a, recorded by attempt 1, is not asked for"


async def test_one_that_was_begun_and_must_not_run_twice_is_asked_for_too(ran: Ran) -> None:
    attempts = 0

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await ctx.step("pay", ran.effect, "pay", idempotent=False)
        yield "end"

    run = Run(agent, step_wait_s=SHORT_S)
    assert await run.attempt(2) is None
    assert await diverged(run) == "the step pay, recorded by attempt 1, is not asked for"


async def test_it_fails_whatever_the_agent_makes_of_it(ran: Ran) -> None:
    attempts = 0

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        nonlocal attempts
        attempts += 1
        for name in "ab" if attempts == 1 else "xyb":
            with suppress(Exception):
                await ctx.step(name, ran.effect, name)
        yield "end"

    run = Run(agent, step_wait_s=SHORT_S)
    assert await run.attempt(2) is None
    assert (await diverged(run)).startswith("the step x begins")
    assert ran.calls == {"a": 1, "b": 1}


async def test_steps_may_be_asked_for_in_another_order_as_branches_are(ran: Ran) -> None:
    order = "ab"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def branch(name: str) -> None:
            for _ in range(0 if name == order[0] else 50):  # beyond the other one's commit
                await asyncio.sleep(0)
            await ctx.step(name, ran.effect, name)

        await asyncio.gather(branch("a"), branch("b"))
        yield await ctx.step("c", ran.effect, "c")

    run = Run(agent)
    assert await run.attempt(3) is None
    order = "ba"
    assert await run.to_the_end() == "c"
    assert ran.calls == {"a": 1, "b": 1, "c": 2}


async def test_a_step_without_effect_may_be_left_out_or_be_new(ran: Ran) -> None:
    run = changing(ran, "pab", "qab", p=True, q=True)
    assert await run.attempt(3) is None
    assert await run.to_the_end() == "qab"
    assert ran.calls == {"p": 1, "q": 1, "a": 1, "b": 2}


async def test_what_was_recorded_inside_a_step_that_has_ended_is_not_asked_for(ran: Ran) -> None:
    attempts = 0

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        nonlocal attempts
        attempts += 1
        number = attempts

        async def outer() -> str:
            if number == 1:
                await ctx.step("inner", ran.effect, "inner")
                await ctx.step("cut", ran.effect, "cut")
            return "outer"

        yield str(await ctx.step("outer", outer))
        yield str(await ctx.step("last", ran.effect, "last"))

    run = Run(agent, step_wait_s=SHORT_S)
    assert await run.attempt(2) is None
    assert await run.to_the_end() == "outerlast"
    assert ran.calls == {"inner": 1, "cut": 1, "last": 1}
    assert await run.to_the_end() == "outerlast"


async def test_two_steps_whose_inner_ones_are_recorded_do_not_wait_for_each_other(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def outer(name: str) -> str:
            first = await ctx.step("inner", ran.effect, f"{name}1")
            return str(first) + str(await ctx.step("inner", ran.effect, f"{name}2"))

        yield str(await asyncio.gather(*(ctx.step("outer", outer, name) for name in "xy")))

    run = Run(agent, step_wait_s=SHORT_S)
    assert await run.attempt(2) is None
    assert await run.to_the_end() == "['x1x2', 'y1y2']"
    assert ran.calls == {"x1": 1, "y1": 1, "x2": 2, "y2": 2}
