"""`crash_everywhere` finds the agents that a death would break, says why, and lets the others pass."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentring.agent import AgentEvent, Context, Result, StepUnknown
from agentring.testing import AgentTest, CrashFound, Effect, node


@pytest.fixture
def charge() -> Effect:
    async def charge(amount: int, idempotency_key: str = "") -> str:
        await asyncio.sleep(0)
        return f"r{amount}"

    return Effect(charge)


@pytest.fixture
def careless() -> Effect:
    async def charge(amount: int) -> str:
        return f"r{amount}"

    return Effect(charge)


def buying(charge: Effect, **how: Any) -> Any:
    """Charges in a step."""

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["orders"] = ctx.state.get("orders", 0) + 1
        yield "charging "
        try:
            yield await ctx.step("charge", charge, 7, **how)
        except StepUnknown:
            yield "unknown"
        yield Result({"orders": ctx.state["orders"]})

    return agent


async def found(agent: Any, **how: Any) -> str:
    """What it fails with."""
    async with AgentTest(agent) as t:
        with pytest.raises(CrashFound) as failed:
            await t.crash_everywhere("buy", **how)
    return str(failed.value)


async def test_an_agent_that_uses_steps_and_their_keys_passes(charge: Effect) -> None:
    async with AgentTest(buying(charge)) as t:
        await t.turn("buy")
        report = await t.crash_everywhere("buy")
        assert report.turn.result == {"orders": 2}
        assert len(report.cuts) >= 6
        assert "before step 1 (charge) was called" in report.cuts
        assert "when the agent had ended, before its end was stored" in report.cuts
        assert t.state == {"orders": 1}
        assert (await t.turn("buy")).result == {"orders": 2}


async def test_an_agent_that_charges_twice_because_it_uses_no_step_is_found(charge: Effect) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield await charge(7)

    text = await found(agent)
    assert "charge took effect twice, without a crash once" in text
    assert "on node 1, outside of any step\n  on node 2, outside of any step" in text
    assert 'call it by await ctx.step("charge", charge, ...)' in text
    assert "the node died while it waited at test_crash_everywhere.py:" in text


async def test_an_agent_that_never_waits_is_cut_off_before_its_end(careless: Effect) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield await careless(7)

    text = await found(agent)
    assert "charge took effect twice" in text
    assert "the node died when the agent had ended, before its end was stored" in text


async def test_a_step_that_hands_no_key_on_is_found(careless: Effect) -> None:
    text = await found(buying(careless))
    assert "charge took effect twice, without a crash once\n  on node 1, in step 1 (charge)\n" in text
    assert "let charge have a parameter idempotency_key" in text
    assert "the node died after step 1 (charge) was called, before its outcome was recorded" in text


async def test_a_step_that_must_not_run_twice_passes_where_its_other_end_is_right(careless: Effect) -> None:
    agent = buying(careless, idempotent=False)
    async with AgentTest(agent) as t:
        await t.crash_everywhere("buy", accepts=lambda turn: turn.text == "charging unknown")
    text = await found(agent)
    assert "the turn's text is 'charging unknown', without a crash 'charging r7'" in text
    assert "took effect twice" not in text


async def test_what_is_not_recorded_makes_another_end() -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        number = random.random()
        await ctx.step("nothing", asyncio.sleep, 0)
        yield Result({"number": number, "attempt": ctx.attempt})

    text = await found(agent)
    assert "the turn's result is {" in text
    assert "make it in a step" in text


async def test_another_way_in_the_next_attempt_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "STEP_WAIT_S", 0.01)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.step("first" if ctx.attempt == 1 else "second", asyncio.sleep, 0)
        yield "done"

    text = await found(agent)
    assert "the turn's failure is 'STEP_DIVERGED', without a crash ''" in text
    assert "the agent must ask for the same steps in the same order" in text


async def test_numbers_and_lists_that_the_test_watches_are_compared() -> None:
    outbox: list[str] = ["of before"]

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        outbox.append(ctx.input_text)
        await asyncio.sleep(0)
        yield "sent"

    text = await found(agent, watch={"outbox": lambda: outbox, "mails": lambda: len(outbox)})
    assert "outbox is ['buy', 'buy'], without a crash ['buy']" in text
    assert "mails is 2, without a crash 1" in text


async def test_fakes_are_restock_before_each_run() -> None:
    stock = {"tea": 1}

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def take(idempotency_key: str) -> int:
            stock.setdefault(idempotency_key, stock["tea"] - 1)
            stock["tea"] = stock[idempotency_key]
            return stock["tea"]

        yield str(await ctx.step("take", take))

    def restock() -> None:
        stock.clear()
        stock["tea"] = 1

    async with AgentTest(agent) as t:
        await t.crash_everywhere("tea", setup=restock, watch={"stock": lambda: stock["tea"]})


async def test_more_places_than_it_may_try_are_an_error(charge: Effect) -> None:
    text = await found(buying(charge), most_cuts=2)
    assert "it was cut off 2 times, and there are more places: give most_cuts=" in text


async def test_steps_side_by_side_and_answers(charge: Effect) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        sure = await ctx.ask("sure?")
        both = await asyncio.gather(*(ctx.step("charge", charge, amount) for amount in (1, 2)))
        at = await ctx.now()
        yield f"{sure.text} {both} {at} {ctx.uuid().version}"

    async with AgentTest(agent) as t:
        t.answers("yes")
        report = await t.crash_everywhere("buy")
    assert report.turn.text.startswith("yes ['r1', 'r2'] 2026-01-01")
    assert len(report.cuts) > 10


async def test_what_a_dead_attempt_holds_is_said_where_the_next_one_waits_for_it() -> None:
    lock = asyncio.Lock()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async with lock:
            await asyncio.sleep(0)
        yield "done"

    text = await found(agent, timeout_s=0.05)
    assert "a node that died before may hold what it waits for, a lock say" in text
    assert "the node died while it waited at test_crash_everywhere.py:" in text


async def test_steps_in_pieces_and_what_is_sent_and_kept() -> None:
    async def words(topic: str) -> AsyncIterator[Any]:
        for word in ("a ", "poem ", topic):
            await asyncio.sleep(0)
            yield word
        yield {"words": 3}

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        stream = ctx.stream_step("model", words, ctx.input_text)
        async for word in stream:
            yield word
        ctx.emit("progress", {"half": True})

        async def keep() -> int:
            await ctx.storage.put("poems/1", b"a poem")
            return len(await ctx.storage.get("poems/1") or b"")

        size = await ctx.step("keep", keep)
        yield Result({"of": stream.result, "size": size})

    async with AgentTest(agent) as t:
        report = await t.crash_everywhere("rain")
        assert report.turn.text == "a poem rain"
        assert report.turn.result == {"of": {"words": 3}, "size": 6}
        assert report.turn.emitted == (("progress", {"half": True}),)
        assert len(report.cuts) > 15
        t.crash(after_step=1)
        turn = await t.turn("rain")
        assert (turn.text, turn.attempts, turn.steps[0].replayed) == ("a poem rain", 2, True)
