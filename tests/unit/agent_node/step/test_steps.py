"""What `ctx.step` does in one attempt and in those after it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent_node.run.outcome import Completed
from agentring.agent import Agent, AgentEvent, Context, StepFailed, StepUnknown
from agentring.errors import StoreUnavailable
from harness.attempts import Attempt, Ran, Run


@pytest.fixture
def ran() -> Ran:
    return Ran()


def three(ran: Ran) -> Agent:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for name in "abc":
            yield await ctx.step(name, ran.effect, name)

    return agent


async def test_a_step_returns_its_result_and_is_recorded(ran: Ran) -> None:
    run = Run(three(ran))
    assert await run.to_the_end() == "abc"
    assert run.kept.names() == ["a COMPLETED", "b COMPLETED", "c COMPLETED"]
    assert [row.value for row in run.kept.rows] == [b'"a"', b'"b"', b'"c"']


@pytest.mark.parametrize("dies_at", [1, 1.5, 2, 2.5, 3, 3.5])
async def test_a_committed_step_never_runs_again(ran: Ran, dies_at: float) -> None:
    run = Run(three(ran))
    assert await run.attempt(dies_at) is None
    landed = int(dies_at) if dies_at % 1 else int(dies_at) - 1
    assert len(run.kept.rows) == landed
    assert await run.to_the_end() == "abc"
    cut_off = "abc"[landed] if landed < int(dies_at) else ""
    assert ran.calls == {name: 1 + (name == cut_off) for name in "abc"}
    assert len(run.kept.rows) == 3


async def test_a_run_without_steps_asks_nothing_of_the_store(ran: Ran) -> None:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "words"

    run = Run(agent)
    assert await run.to_the_end() == "words"
    assert run.last is not None
    assert (run.last.commits, run.kept.rows, run.last.is_closed) == (0, [], False)


async def test_the_first_attempt_gets_the_decoded_record_too(ran: Ran) -> None:
    found: list[Any] = []

    async def pair() -> Any:
        return {"a": (1, 2)}

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        found.append(await ctx.step("pair", pair))
        await ctx.step("next", ran.effect, 1)
        yield ""

    run = Run(agent)
    await run.attempt(2)
    await run.to_the_end()
    assert found == [{"a": [1, 2]}, {"a": [1, 2]}]


async def test_an_error_is_an_outcome_that_every_attempt_gets(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            await ctx.step("failing", ran.failing, "no")
        except StepFailed as failed:
            yield f"{failed.type_name} {failed.text} "
        yield str(await ctx.step("b", ran.effect, "b"))

    run = Run(agent)
    assert await run.attempt(2) is None
    assert await run.to_the_end() == "KeyError 'no' b"
    assert ran.calls == {"no": 1, "b": 2}


async def test_equal_steps_are_told_apart_by_their_order(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for _ in range(3):
            yield str(await ctx.step("a", count))

    calls = iter(range(1, 100))

    async def count() -> int:
        return next(calls)

    run = Run(agent)
    assert await run.attempt(3) is None
    assert await run.to_the_end() == "124"  # the third was cut off


async def test_steps_that_end_together_share_a_commit(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await asyncio.gather(*(ctx.step("a", ran.effect, number) for number in range(5))))

    run = Run(agent)
    assert await run.to_the_end() == "[0, 1, 2, 3, 4]"
    assert run.kept.commits == [5]


async def test_an_equal_step_beside_an_open_one_is_refused_without_a_key(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        both = await asyncio.gather(*(ctx.step("a", ran.effect, 1) for _ in range(2)), return_exceptions=True)
        yield f"{both[0]} {type(both[1]).__name__} "
        yield str(await asyncio.gather(*(ctx.step("a", ran.effect, 1, key=key) for key in "xy")))

        async def scoped(name: str) -> Any:
            with ctx.scope(name):
                return await ctx.step("a", ran.effect, 1)

        yield str(await asyncio.gather(scoped("x"), scoped("y")))

    run = Run(agent)
    assert await run.to_the_end() == "1 TypeError [1, 1][1, 1]"
    assert len({row.step_id for row in run.kept.rows}) == 5


async def test_a_race_ends_as_it_did(ran: Ran) -> None:
    first = {"a": 3, "b": 1}

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        order: list[str] = []

        async def branch(name: str) -> None:
            order.append(await ctx.step(name, ran.effect, name, waits=first[name], key=name))

        await asyncio.gather(branch("a"), branch("b"))
        yield "".join(order)
        yield str(await ctx.step("c", ran.effect, "c"))

    run = Run(agent)
    assert await run.attempt(3) is None
    first = {"a": 1, "b": 50}
    assert await run.to_the_end() == "bac"
    assert ran.calls == {"a": 1, "b": 1, "c": 2}


@pytest.mark.parametrize("dies_at", [1.5, 2, 2.5])
async def test_a_step_that_must_not_run_twice_is_unknown_where_it_was_cut_off(ran: Ran, dies_at: float) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            yield str(await ctx.step("pay", ran.effect, "pay", idempotent=False))
        except StepUnknown:
            yield "unknown"

    run = Run(agent)
    assert await run.attempt(dies_at) is None
    assert await run.to_the_end() == ("pay" if dies_at == 2.5 else "unknown")
    assert await run.to_the_end() == ("pay" if dies_at == 2.5 else "unknown")
    assert ran.calls["pay"] == (0 if dies_at == 1.5 else 1)
    assert run.kept.names() == ["pay STARTED", "pay COMPLETED" if dies_at == 2.5 else "pay UNKNOWN"]


async def test_a_commit_that_fails_ends_the_attempt_and_is_no_outcome(ran: Ran) -> None:
    seen: list[str] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for name in "ab":
            try:
                await ctx.step(name, ran.effect, name)
            except StoreUnavailable:
                seen.append(name)
        yield "end"

    run = Run(agent)
    with pytest.raises(StoreUnavailable):  # the session or task that it is of has failed with it
        await run.attempt(1, error=StoreUnavailable())
    assert seen == ["a", "b"]
    assert (run.kept.rows, ran.calls) == ([], {"a": 1})


async def test_an_outer_step_answers_for_those_inside_it(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def outer() -> str:
            first = await ctx.step("inner", ran.effect, "one")
            second = await ctx.step("inner", ran.effect, "two")
            return f"{first} {second}"

        yield await ctx.step("outer", outer)
        yield await ctx.step("last", ran.effect, " last")

    run = Run(agent)
    assert await run.attempt(2) is None  # the second inner one did not land
    assert await run.attempt(2.5) is None  # now the outer one has
    assert await run.to_the_end() == "one two last"
    assert ran.calls == {"one": 1, "two": 2, " last": 1}
    inner = [row for row in run.kept.rows if row.name == "inner"]
    outer = next(row for row in run.kept.rows if row.name == "outer")
    assert [row.outer_ids for row in inner] == [outer.step_id] * 2


async def test_the_function_gets_the_step_s_key_and_the_owner_s_token_if_it_names_them(ran: Ran) -> None:
    got: list[Any] = []

    async def pay(amount: int, *, idempotency_key: str, fencing_token: int) -> int:
        got.append((amount, idempotency_key, fencing_token))
        return amount

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for _ in range(2):
            yield str(await ctx.step("pay", pay, 5))

    run = Run(agent)
    await run.attempt(2)
    await run.to_the_end()
    assert [(amount, token) for amount, _, token in got] == [(5, 7)] * 3
    keys = [key for _, key, _ in got]
    assert (keys[1], len(set(keys))) == (keys[2], 2)
    assert keys[0].startswith("default/session/s/t/step/")


async def test_what_is_left_behind_records_nothing_more(ran: Ran) -> None:
    left: list[asyncio.Task[Any]] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        left.append(asyncio.ensure_future(ctx.step("left", ran.effect, "left", waits=1_000_000)))
        await ctx.step("a", ran.effect, "a")
        yield "done"

    run = Run(agent)
    assert await run.to_the_end() == "done"
    await asyncio.wait(left)
    assert left[0].cancelled()
    assert run.kept.names() == ["a COMPLETED"]


async def test_no_question_beside_a_step(ran: Ran) -> None:
    class Nobody:
        async def ask(self, *_: Any) -> Any:
            raise AssertionError

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        step = asyncio.ensure_future(ctx.step("a", ran.effect, "a", waits=5))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="ask before or after a step"):
            await ctx.ask("?")
        yield str(await step)

    run = Run(agent)
    async with asyncio.TaskGroup() as tasks:
        attempt = Attempt(run.kept, tasks, float("inf"))
        outcome = await run.bench.run(agent, steps=lambda: attempt, questions=Nobody())
    assert isinstance(outcome, Completed)
    assert outcome.text == "a"
