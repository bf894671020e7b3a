"""Steps that are cancelled: by their agent, which is an outcome, or by the end of their run, which is none."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent_node.run.outcome import Completed, Failed
from agentring.agent import AgentEvent, Context, Retry, StepFailed, StepUnknown
from harness.attempts import Attempt, Ran, Run

Running = asyncio.Task[Completed | Failed]


@pytest.fixture
def ran() -> Ran:
    return Ran()


async def for_ever(ran: Ran, name: str = "slow") -> None:
    ran.called(name)
    await asyncio.get_running_loop().create_future()


async def test_a_step_that_its_agent_cancels_is_cancelled_again_in_the_next_attempt(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        slow = asyncio.ensure_future(ctx.step("slow", for_ever, ran, key="slow"))
        yield str(await ctx.step("quick", ran.effect, "quick"))
        slow.cancel()
        await asyncio.wait([slow])
        yield f" {slow.cancelled()} "
        yield str(await ctx.step("last", ran.effect, "last"))

    run = Run(agent)
    assert await run.attempt(2) is None
    assert run.kept.names() == ["quick COMPLETED"]
    assert await run.attempt(2) is None  # the cancelled one's row came before the last one's
    assert await run.to_the_end() == "quick True last"
    assert ran.calls["quick"] == 1
    assert run.kept.names() == ["quick COMPLETED", "slow CANCELLED", "last COMPLETED"]
    assert ran.calls["slow"] == 2, "it ran again although it was cancelled"


async def test_a_time_out_around_a_step_is_an_outcome(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            async with asyncio.timeout(0.01):
                await ctx.step("slow", for_ever, ran, key="slow")
        except TimeoutError:
            yield "late "
        yield str(await ctx.step("last", ran.effect, "last"))

    run = Run(agent)
    assert await run.attempt(2) is None
    assert await run.to_the_end() == "late last"
    assert ran.calls == {"slow": 1, "last": 2}
    assert run.kept.names() == ["slow CANCELLED", "last COMPLETED"]


async def test_one_that_must_not_run_twice_and_was_cancelled_is_unknown_and_cancelled_again(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            async with asyncio.timeout(0.01):
                await ctx.step("pay", for_ever, ran, key="pay", idempotent=False)
        except (TimeoutError, StepUnknown) as error:
            yield type(error).__name__
        await ctx.step("last", ran.effect, "last")

    run = Run(agent)
    assert await run.attempt(3) is None
    assert await run.to_the_end() == "TimeoutError"
    assert run.kept.names() == ["pay STARTED", "pay UNKNOWN", "last COMPLETED"]
    assert ran.calls["slow"] == 1


async def test_the_end_of_the_run_is_no_outcome(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.step("a", ran.effect, "a")
        await ctx.step("slow", for_ever, ran, key="slow")
        yield ""

    async def cancelled(attempt: Attempt, running: Running) -> None:
        await ran.until_called("slow")
        running.cancel()

    run = Run(agent)
    assert await run.attempt(meanwhile=cancelled) is None
    assert run.kept.names() == ["a COMPLETED"]


async def test_a_step_in_the_clean_up_of_a_cancelled_run_is_recorded(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            await ctx.step("slow", for_ever, ran, key="slow")
            yield ""
        finally:
            await ctx.step("undo", ran.effect, "undo")

    async def cancelled(attempt: Attempt, running: Running) -> None:
        await ran.until_called("slow")
        running.cancel()

    run = Run(agent)
    assert await run.attempt(meanwhile=cancelled) is None
    assert run.kept.names() == ["undo COMPLETED"]


async def test_a_run_that_is_cut_off_and_goes_on_elsewhere_undoes_nothing(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            yield str(await ctx.step("a", ran.effect, "a"))
            if ctx.attempt == 1:
                await for_ever(ran)
            yield str(await ctx.step("b", ran.effect, "b"))
        finally:
            if ctx.attempt == 1:
                await ctx.step("undo", ran.effect, "undo")

    async def cut_off(attempt: Attempt, running: Running) -> None:
        await ran.until_called("slow")
        attempt.cut_off = True
        running.cancel()

    run = Run(agent)
    assert await run.attempt(meanwhile=cut_off) is None
    assert run.kept.names() == ["a COMPLETED"]
    assert await run.to_the_end() == "ab"
    assert ran.calls == {"a": 1, "b": 1, "slow": 1}


async def test_an_outcome_that_came_too_late_for_its_agent_is_its_cancellation(ran: Ran) -> None:
    """The function had ended; its row was on the way when the agent gave up waiting."""
    gave_up = asyncio.Event()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        step = asyncio.ensure_future(ctx.step("a", ran.effect, "a"))
        await gave_up.wait()
        step.cancel()
        await asyncio.wait([step])
        yield f"{step.cancelled()} "
        yield str(await ctx.step("last", ran.effect, "last"))

    async def held(attempt: Attempt, running: Running) -> None:
        attempt.held = asyncio.Event()
        await attempt.reached.wait()
        gave_up.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        attempt.held.set()

    run = Run(agent)
    assert await run.attempt(3, meanwhile=held) is None
    assert run.kept.names() == ["a COMPLETED", "a CANCELLED"]
    assert await run.to_the_end() == "True last"
    assert ran.calls["a"] == 1


async def test_what_was_cancelled_inside_a_step_is_an_error_of_the_step(ran: Ran) -> None:
    async def waits_for_the_cancelled() -> None:
        inner = asyncio.ensure_future(asyncio.sleep(99))
        inner.cancel()
        await inner

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            await ctx.step("a", waits_for_the_cancelled)
        except StepFailed as failed:
            yield failed.type_name

    run = Run(agent)
    assert await run.to_the_end() == "CancelledError"
    assert await run.to_the_end() == "CancelledError"


async def test_tries_again_where_it_may_and_the_outcome_is_the_last_one(ran: Ran) -> None:
    async def at_last(name: str, after: int) -> str:
        ran.calls[name] += 1
        if ran.calls[name] <= after:
            raise ConnectionError(name)
        return name

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        retry = Retry(most_tries=3, first_wait_s=0.001)
        yield await ctx.step("a", at_last, "a", 2, retry=retry)
        for name, options in (("b", {"retry": retry}), ("c", {"retry": retry, "idempotent": False}), ("d", {})):
            with pytest.raises(StepFailed, match="ConnectionError"):
                await ctx.step(name, at_last, name, 9, **options)
        only = Retry(most_tries=9, errors=(KeyError,))
        with pytest.raises(StepFailed):
            await ctx.step("e", at_last, "e", 9, retry=only)

    run = Run(agent)
    assert await run.to_the_end() == "a"
    assert ran.calls == {"a": 3, "b": 3, "c": 1, "d": 1, "e": 1}


async def test_a_time_out_of_the_step_is_an_error_of_each_try(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            retry = Retry(most_tries=2, first_wait_s=0.001)
            await ctx.step("slow", for_ever, ran, key="slow", timeout_s=0.01, retry=retry)
        except StepFailed as failed:
            yield failed.type_name

    run = Run(agent)
    assert await run.to_the_end() == "TimeoutError"
    assert await run.to_the_end() == "TimeoutError"
    assert ran.calls["slow"] == 2


def test_the_waits_of_a_retry_grow_up_to_the_most() -> None:
    retry = Retry(first_wait_s=1.0, factor=2.0, most_wait_s=3.0)
    for tries, whole_s in ((1, 1.0), (2, 2.0), (3, 3.0), (500, 3.0)):
        waits = [retry.wait_s(tries) for _ in range(50)]
        assert whole_s / 2 <= min(waits) < max(waits) <= whole_s
    for wrong in ({"most_tries": 0}, {"first_wait_s": -1.0}, {"factor": 0.5}):
        with pytest.raises(ValueError, match="a Retry has"):
            Retry(**wrong)


async def test_what_ends_the_wait_for_a_commit_of_another_step_is_its_own(ran: Ran) -> None:
    found: list[Any] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        found.extend(await asyncio.gather(*(ctx.step("a", ran.effect, each) for each in range(300))))
        yield str(len(found))

    run = Run(agent)
    assert await run.to_the_end() == "300"
    assert (found, run.kept.commits) == (list(range(300)), [256, 44])
