"""The steps of a task over its runs: a node that dies takes none along, and the end of the task all."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast
from unittest.mock import AsyncMock

import pytest

from agent_node.events.whole_log import all_events, text_of
from agent_node.run.context import RunContext
from agent_node.run.event_rows import event_rows
from agent_node.store.step_records import Life, StepState
from agent_node.task.run import TaskRun
from agentring.agent import Agent, AgentEvent, Context
from agentring.errors import StaleEpoch, StoreUnavailable
from agentring.v1.task_pb2 import TASK_STATE_CANCELLED, TASK_STATE_COMPLETED, TASK_STATE_FAILED
from harness.attempts import Ran
from harness.two_task_nodes import KEY, Two, events_of, two_nodes


@pytest.fixture
def ran() -> Ran:
    return Ran()


def stepping(ran: Ran, go: asyncio.Event, *, idempotent: bool = True) -> Agent:
    """Runs the step a, then the step b, which lasts until it may go on."""

    async def b() -> str:
        ran.called("b")
        await go.wait()
        return "b"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("a", ran.effect, "a"))
        yield str(await ctx.step("b", b, idempotent=idempotent))

    return agent


async def life(nodes: Two) -> Life:
    return Life(KEY.tenant, (await nodes.stored_task()).life_id)


async def begun(nodes: Two, agent: Agent) -> "asyncio.Task[tuple[TaskRun, object]]":
    """The first node has the task."""
    for node in (nodes.one, nodes.two):
        node.agents["stepping"] = agent
    return asyncio.ensure_future(nodes.one.run(agent="stepping"))


async def test_the_next_run_of_a_task_goes_on_at_its_last_finished_step(ran: Ran) -> None:
    go = asyncio.Event()
    async with two_nodes() as nodes:
        await begun(nodes, stepping(ran, go))
        await ran.until_called("b")
        one = await life(nodes)
        assert [row.name for row in await nodes.stored.steps.read(one, 0)] == ["a"]
        nodes.one.die()
        go.set()
        run, _ = await nodes.two.run(agent="stepping")
        await run.ended.wait()
        assert (run.state, text_of(all_events(run.log))) == (TASK_STATE_COMPLETED, "ab")
        assert ran.calls == {"a": 1, "b": 2}
        assert list(await nodes.stored.steps.read(one, 0)) == []
        assert nodes.two.audited("step_recorded") == ["step_recorded"]


async def test_one_that_must_not_run_twice_is_unknown_to_the_next_run(ran: Ran) -> None:
    go = asyncio.Event()
    async with two_nodes() as nodes:
        await begun(nodes, stepping(ran, go, idempotent=False))
        await ran.until_called("b")
        nodes.one.die()
        go.set()
        run, _ = await nodes.two.run(agent="stepping")
        await run.ended.wait()
        assert run.state == TASK_STATE_FAILED
        assert ran.calls == {"a": 1, "b": 1}


@pytest.mark.parametrize("error", [StaleEpoch(), StoreUnavailable()])
async def test_a_commit_that_fails_drops_the_run_and_the_task_is_open(
    ran: Ran, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    async def keep(*_: object) -> int:
        raise error

    async with two_nodes() as nodes:
        monkeypatch.setattr(nodes.stored.steps, "keep", keep)
        calling = await begun(nodes, stepping(ran, go))
        await asyncio.wait([calling])
        run, _ = await nodes.one.run(agent="stepping")
        await run.ended.wait()
        assert not run.has_ended
        assert not (await nodes.stored_task()).has_ended
        assert ran.calls["a"] >= 1
        assert ran.calls["b"] == 0


async def test_what_a_frozen_node_writes_of_steps_changes_nothing(ran: Ran) -> None:
    """Its run goes on, since it has not noticed: the store refuses its steps."""
    go = asyncio.Event()
    async with two_nodes() as nodes:
        await begun(nodes, stepping(ran, go))
        await ran.until_called("b")
        frozen = nodes.one
        frozen._claims.free("n1")  # its lease is over, and nobody has told it
        run, _ = await nodes.two.run(agent="stepping")
        await ran.until_called("b", 2)
        rows = list(await nodes.stored.steps.read(await life(nodes), 0))
        go.set()
        await run.ended.wait()
        assert run.state == TASK_STATE_COMPLETED
        assert [(row.name, row.state) for row in rows] == [("a", StepState.COMPLETED)]
        assert frozen.audited("task_committed") == []
        assert len(nodes.two.audited("step_recorded")) == 1


async def test_a_cancelled_task_whose_node_is_lost_in_its_clean_up_is_cancelled_by_the_next(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("a", ran.effect, "a"))
        try:
            ran.called("waits")
            await asyncio.get_running_loop().create_future()
        finally:
            await ctx.step("undo", ran.effect, "undo")

    async with two_nodes() as nodes:
        calling = await begun(nodes, agent)
        await ran.until_called("waits")
        nodes.one.points.hold("before end")
        run, _ = await calling
        cancelling = asyncio.ensure_future(nodes.one.runs.cancel(run))
        await nodes.one.points.reached["before end"].wait()
        nodes.one.die()
        await asyncio.wait([cancelling])
        followed, _ = await nodes.two.run(agent="stepping")
        await followed.ended.wait()
        assert followed.state == TASK_STATE_CANCELLED
        assert ran.calls == {"a": 1, "waits": 1, "undo": 1}


@pytest.mark.parametrize(("why", "state"), [("late", TASK_STATE_FAILED), ("unwatched", TASK_STATE_CANCELLED)])
async def test_one_that_is_late_or_unwatched_is_ended_by_the_next_node_and_not_run_again(
    ran: Ran, why: str, state: int
) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("a", ran.effect, "a"))
        try:
            ran.called("waits")
            if why == "late":
                cast(RunContext, ctx).time.expire()
            await asyncio.get_running_loop().create_future()
        finally:
            await ctx.step("undo", ran.effect, "undo")

    async with two_nodes(unwatched_timeout_s=1) as nodes:
        one, two = nodes.one, nodes.two
        one.agents["stepping"] = two.agents["stepping"] = agent
        run, _ = await one.run(agent="stepping", cancel_when_unwatched=why == "unwatched")
        await ran.until_called("waits")
        one.points.hold("before end")
        if why == "unwatched":
            one.runs.unwatched.cancel_due()
            one.clock.advance(1)
            for _ in "ab":
                one.runs.unwatched.cancel_due()
            assert run.begins_anew
        await one.points.reached["before end"].wait()
        one.die()
        found = await two.runs.find(KEY)
        await found.ended.wait()
        assert found.state == state
        last = events_of(found)[-1]
        assert (last.turn_failed.reason, last.turn_cancelled.reason) in [("TURN_DEADLINE", ""), ("", "UNWATCHED")]
        assert ran.calls == {"a": 1, "waits": 1, "undo": 1}


async def test_one_that_ends_while_it_is_decided_to_cancel_it_has_completed(ran: Ran) -> None:
    go = asyncio.Event()
    async with two_nodes(unwatched_timeout_s=1) as nodes:
        one = nodes.one
        one.agents["stepping"] = stepping(ran, go)
        run, _ = await one.run(agent="stepping", cancel_when_unwatched=True)
        await ran.until_called("b")
        assert run.decide("UNWATCHED")
        go.set()
        await run.ended.wait()
        assert (run.state, run.begins_anew) == (TASK_STATE_COMPLETED, False)
        run.cancel_decided()
        assert (await one.run(agent="stepping"))[0] is run


async def test_a_drained_task_s_clean_up_is_neither_done_nor_recorded_since_it_goes_on(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("a", ran.effect, "a"))
        try:
            if ctx.attempt == 1:
                ran.called("waits")
                await asyncio.get_running_loop().create_future()
        finally:
            if ctx.attempt == 1:
                await ctx.step("undo", ran.effect, "undo")

    async with two_nodes() as nodes:
        await begun(nodes, agent)
        await ran.until_called("waits")
        await nodes.one.runs.drain(0)
        run, _ = await nodes.two.run(agent="stepping")
        await run.ended.wait()
        assert (run.state, run.attempt) == (TASK_STATE_COMPLETED, 2)
        assert ran.calls == {"a": 1, "waits": 1}


async def test_open_steps_of_a_task_are_shown_while_it_runs(ran: Ran) -> None:
    go = asyncio.Event()
    async with two_nodes() as nodes:
        caller = await begun(nodes, stepping(ran, go))
        await ran.until_called("b")
        run, _ = await caller
        (step,) = run.to_task().open_steps
        assert (step.name, step.attempt, step.depth) == ("b", 1, 0)
        go.set()
        await run.ended.wait()
        assert list(run.to_task().open_steps) == []


async def test_a_call_that_stays_valid_has_a_result_where_the_next_run_is_not_executed(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs() -> str:
        ran.called("hangs")
        return str(await asyncio.get_running_loop().create_future())

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        tool = asyncio.ensure_future(ctx.tool("hangs", hangs))
        await ran.until_called("hangs")
        yield str(await ctx.step("a", ran.effect, "a"))
        ran.called("waits")
        yield str(await tool)

    async with two_nodes() as nodes:
        caller = await begun(nodes, agent)
        await ran.until_called("waits")
        first, _ = await caller
        nodes.one.die()
        monkeypatch.setattr(
            nodes.stored.steps, "read_events", AsyncMock(return_value=event_rows(first.log.entries(0)[:2], 0))
        )
        run = await nodes.two.runs.find(KEY, "stepping", to_cancel=True)
        await run.ended.wait()
        assert run.state == TASK_STATE_CANCELLED
        answers = [event for event in all_events(run.log) if event.HasField("tool_result")]
        assert [(each.tool_result.reason, each.attempt) for each in answers] == [("TOOL_CANCELLED", 2)]
        assert ran.calls["hangs"] == 1
