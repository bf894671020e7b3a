"""What is large, what is derived, and what is too much: results in pieces, time and chance, the bounds of a run."""

from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import pytest

from agent_node.run.outcome import Failed
from agent_node.store.step_records import CHUNK_BYTES, INLINE_BYTES
from agentring.agent import AgentEvent, Context, StepFailed
from harness.attempts import Ran, Run


@pytest.fixture
def ran() -> Ran:
    return Ran()


async def test_large_results_are_kept_in_pieces_and_come_back(ran: Ran) -> None:
    large = "x" * (2 * CHUNK_BYTES + 5)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        found = await ctx.step("large", ran.effect, large, key="large")
        assert found == large
        middle = await ctx.step("middle", ran.effect, "y" * INLINE_BYTES, key="middle")
        yield str(len(found) + len(middle))
        await ctx.step("last", ran.effect, "last")

    run = Run(agent)
    assert await run.attempt(7) is None  # 3 pieces and a row, a piece and a row, the last one's row
    assert (len(run.kept.rows), len(run.kept.chunks)) == (2, 4)
    assert await run.to_the_end() == str(len(large) + INLINE_BYTES)
    assert ran.calls[large] == 1
    assert [row.value for row in run.kept.rows[:2]] == [b"", b""]


async def test_a_large_result_that_is_not_what_was_written_fails_the_run(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(len(await ctx.step("large", ran.effect, "x" * 5_000, key="large")))
        await ctx.step("last", ran.effect, "last")

    run = Run(agent)
    assert await run.attempt(3) is None
    (name,) = run.kept.chunks
    run.kept.chunks[name] = b"other"
    outcome = await run.attempt()
    assert isinstance(outcome, Failed)
    assert outcome.reason == "STEP_CORRUPT"
    assert ran.calls["last"] == 1


async def test_time_and_chance_are_the_same_in_every_attempt(ran: Ran) -> None:
    seen: list[Any] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        now = [await ctx.now(), await ctx.now()]
        with ctx.scope("a"):
            scoped = ctx.uuid()
        seen.append((now, ctx.uuid(), ctx.uuid(), scoped, ctx.random(), ctx.random()))
        await ctx.step("a", ran.effect, 1)
        await ctx.step("b", ran.effect, 2)
        yield ""

    run = Run(agent)
    assert await run.attempt(2) is None
    await run.to_the_end()
    assert seen[0] == seen[1]
    (first, second), *uuids, low, high = seen[0]
    assert (first.tzinfo, first <= second, len(set(uuids))) == (UTC, True, 3)
    assert 0 <= min(low, high) < 1
    assert low != high
    assert run.kept.commits == [3, 1]


async def test_bounds(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_node.step.steps.MOST_STEPS", 3)

    async def deeper(ctx: Context, level: int) -> int:
        return await ctx.step("deeper", deeper, ctx, level + 1, key=str(level)) if level else 0

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for number in range(3):
            await ctx.step("a", ran.effect, number)
        with pytest.raises(RuntimeError, match="at most 3 steps"):
            await ctx.step("a", ran.effect, 3)
        yield "met"

    assert await Run(agent).to_the_end() == "met"

    async def deep(ctx: Context) -> AsyncIterator[AgentEvent]:
        monkeypatch.setattr("agent_node.step.steps.MOST_STEPS", 100)
        with pytest.raises(StepFailed, match="steps are at most 8 deep"):
            await ctx.step("deeper", deeper, ctx, 1, key="0")
        monkeypatch.setattr("agent_node.step.steps.MOST_BYTES", 10)
        with pytest.raises(StepFailed, match="left for this run"):
            await ctx.step("large", ran.effect, "x" * 11)
        yield "met"

    assert await Run(deep).to_the_end() == "met"
