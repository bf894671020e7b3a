"""Planned deaths: what was recorded is answered from the record, and nothing of the dead node goes on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentring.agent import AgentEvent, Context, Result, StepUnknown
from agentring.testing import AgentTest, Effect, TurnNotAsExpected


def shop(charge: Effect, mail: Effect, cleaned: list[int] | None = None) -> Any:
    """Charges and mails, each in a step."""

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["orders"] = ctx.state.get("orders", 0) + 1
        yield "charging "
        try:
            receipt = await ctx.step("charge", charge, 7)
            await ctx.step("mail", mail, receipt)
        finally:
            if cleaned is not None:
                cleaned.append(ctx.attempt)
        yield f"paid {receipt}"
        yield Result({"receipt": receipt, "orders": ctx.state["orders"]})

    return agent


@pytest.fixture
def charge() -> Effect:
    return Effect(lambda amount, idempotency_key: f"r{amount}", "charge")


@pytest.fixture
def mail() -> Effect:
    return Effect(lambda text, idempotency_key: None, "mail")


@pytest.mark.parametrize(
    ("where", "called_in", "replayed"),
    [
        ({"before_step": 1}, [(2,), (2,)], [False, False]),
        ({"in_step": 1}, [(1, 2), (2,)], [False, False]),
        ({"after_step": 1}, [(1,), (2,)], [True, False]),
        ({"before_step": 2}, [(1,), (2,)], [True, False]),
        ({"in_step": 2}, [(1,), (1, 2)], [True, False]),
        ({"after_step": 2}, [(1,), (1,)], [True, True]),
        ({"at_end": True}, [(1,), (1,)], [True, True]),
        ({"at_wait": 1}, [(1, 2), (2,)], [False, False]),
    ],
)
async def test_a_turn_goes_on_after_a_death(
    charge: Effect, mail: Effect, where: dict[str, Any], called_in: list[tuple[int, ...]], replayed: list[bool]
) -> None:
    async with AgentTest(shop(charge, mail)) as t:
        t.crash(**where)
        turn = await t.turn("buy")
        assert (turn.text, turn.result) == ("charging paid r7", {"receipt": "r7", "orders": 1})
        assert (turn.attempts, len(turn.cuts), t.state) == (2, 1, {"orders": 1})
        assert [step.called_in for step in turn.steps] == called_in
        assert [step.replayed for step in turn.steps] == replayed
        assert (charge.count, mail.count) == (1, 1)
        turn = await t.turn("buy")
        assert (turn.attempts, t.state, charge.count) == (1, {"orders": 2}, 2)


async def test_several_deaths_come_one_after_the_other(charge: Effect, mail: Effect) -> None:
    async with AgentTest(shop(charge, mail)) as t:
        t.crash(after_step=1)
        t.crash(in_step=2)
        t.crash(at_end=True)
        turn = await t.turn("buy")
    assert (turn.attempts, turn.text) == (4, "charging paid r7")
    assert turn.cuts == (
        "when the outcome of step 1 (charge) was recorded, before the agent had it",
        "after step 2 (mail) was called, before its outcome was recorded",
        "when the agent had ended, before its end was stored",
    )


async def test_a_dead_node_does_not_clean_up_before_the_test_has_looked(charge: Effect, mail: Effect) -> None:
    cleaned: list[int] = []
    async with AgentTest(shop(charge, mail, cleaned)) as t:
        t.crash(after_step=1)
        await t.turn("buy")
        assert cleaned == [2]
    assert sorted(cleaned) == [1, 2]


async def test_tasks_go_on_as_well(charge: Effect, mail: Effect) -> None:
    async with AgentTest(shop(charge, mail)) as t:
        t.crash(in_step=1)
        turn = await t.task("order", "buy")
        assert (turn.text, turn.attempts, turn.steps[0].called_in) == ("charging paid r7", 2, (1, 2))
        t.crash(at_end=True)
        assert (await t.task("other", "buy")).attempts == 2
    assert charge.count == 2


async def test_a_step_that_must_not_run_twice_is_unknown() -> None:
    charge = Effect(lambda: "r", "charge")

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            await ctx.step("charge", charge, idempotent=False)
        except StepUnknown:
            yield "unknown"

    async with AgentTest(agent) as t:
        t.crash(in_step=1)
        turn = await t.turn("buy")
    assert (turn.text, turn.steps[0].outcome, charge.count) == ("unknown", "unknown", 1)


async def test_an_answer_outlives_a_death() -> None:
    asked: list[str] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        answer = await ctx.ask("sure?")
        await ctx.step("note", Effect(lambda: None, "note"))
        yield answer.text

    def answer(question: Any) -> str:
        asked.append(question.prompt)
        return "yes"

    async with AgentTest(agent) as t:
        t.answers(answer)
        t.crash(in_step=1)
        turn = await t.turn("buy")
    assert (turn.text, turn.attempts, asked) == ("yes", 2, ["sure?"])


async def test_what_an_agent_has_begun_beside_dies_with_it() -> None:
    ticks: list[int] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def tick() -> None:
            while True:
                ticks.append(ctx.attempt)
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await ctx.step("step", Effect(lambda: asyncio.sleep(0.001), "step"))
        ticking.cancel()
        yield "done"

    async with AgentTest(agent) as t:
        t.crash(after_step=1)
        await t.turn("go")
        assert ticks == sorted(ticks)
        assert set(ticks) == {1, 2}


async def test_a_place_that_the_turn_does_not_come_to_is_an_error(charge: Effect, mail: Effect) -> None:
    async with AgentTest(shop(charge, mail)) as t:
        t.crash(after_step=3)
        with pytest.raises(TurnNotAsExpected, match="its node was still to die after step 3"):
            await t.turn("buy")
        assert (await t.turn("buy")).attempts == 1


def test_a_crash_has_one_place(charge: Effect, mail: Effect) -> None:
    t = AgentTest(shop(charge, mail))
    with pytest.raises(ValueError, match="say one place"):
        t.crash()
    with pytest.raises(ValueError, match="say one place"):
        t.crash(after_step=1, at_end=True)


async def test_a_long_text_is_there_in_full() -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for _ in range(30):
            yield "\u00e9" * 3_000
        yield await ctx.step("end", _said, "!")

    async with AgentTest(agent) as test:
        for after_step in (None, 1):
            if after_step is not None:
                test.crash(after_step=after_step)
            assert (await test.turn("go")).text == "\u00e9" * 90_000 + "!"


async def _said(what: str) -> str:
    return what
