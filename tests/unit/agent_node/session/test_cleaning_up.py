"""The clean-up of a turn that ends or is cut off: its steps are recorded where the turn is at its end, and neither run
nor recorded where it goes on elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest

from agent_node.run.context import RunContext
from agent_node.store.step_records import StepState
from agentring.agent import Agent, AgentEvent, Context
from agentring.errors import StoreUnavailable
from agentring.ids import Epoch
from agentring.v1.session_pb2 import Event
from harness.attempts import Ran
from harness.sessions import EPOCH, acting
from harness.stores import RecordingStore


@pytest.fixture
def ran() -> Ran:
    return Ran()


def undoing(ran: Ran, *, late: bool = False) -> Agent:
    """Runs the step a, waits for ever, and undoes what it did when it is asked to end. late: its time is over."""

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("a", ran.effect, "a"))
        try:
            ran.called("waits")
            if late:
                cast(RunContext, ctx).time.expire()
            await asyncio.get_running_loop().create_future()
        finally:
            await ctx.step("undo", ran.effect, "undo")

    return agent


async def test_a_cancelled_turn_whose_node_is_lost_in_its_clean_up_is_cancelled_by_the_next_owner(ran: Ran) -> None:
    """It is not executed again: what the clean-up has recorded would be another way than that of a run from the
    start."""
    store = RecordingStore(durable=True)
    store.hold("end_turn")
    async with acting(undoing(ran), store=store) as lost:
        await lost.submit("t")
        await ran.until_called("waits")
        cancelling = asyncio.ensure_future(lost.session.cancel("t"))
        await store.reached["end_turn"].wait()
        lost.drop()
        await asyncio.wait([cancelling])
    assert ran.calls == {"a": 1, "waits": 1, "undo": 1}
    store.held.clear()
    async with acting(undoing(ran), store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        assert await owner.until_ended("t") == ["turn_cancelled"]
        assert owner.events()[-1].turn_cancelled.reason == "CLIENT"
    assert ran.calls == {"a": 1, "waits": 1, "undo": 1}
    assert [row.state for row in store.steps.kept] == [
        StepState.COMPLETED,
        StepState.ENDING,
        StepState.COMPLETED,
    ]


async def test_one_that_was_too_late_is_failed_by_the_next_owner(ran: Ran) -> None:
    store = RecordingStore(durable=True)
    store.hold("end_turn")
    async with acting(undoing(ran, late=True), store=store) as lost:
        await lost.submit("t")
        await store.reached["end_turn"].wait()
    assert ran.calls == {"a": 1, "waits": 1, "undo": 1}
    store.held.clear()
    async with acting(undoing(ran), store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        assert await owner.until_ended("t") == ["turn_failed"]
        assert owner.events()[-1].turn_failed.reason == "TURN_DEADLINE"
    assert ran.calls == {"a": 1, "waits": 1, "undo": 1}
    assert [row.state for row in store.steps.kept] == [StepState.COMPLETED, StepState.ENDING, StepState.COMPLETED]


async def test_one_whose_end_could_not_be_stored_goes_on_elsewhere_and_undoes_nothing(ran: Ran) -> None:
    store = RecordingStore(durable=True)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async for event in undoing(ran, late=True)(ctx):
            store.errors["keep_steps"] = StoreUnavailable()
            yield event

    async with acting(agent, store=store) as actor:
        await actor.submit("t")
        await asyncio.wait([actor.runner])
        assert actor.failure is store.errors["keep_steps"]
    assert ran.calls == {"a": 1, "waits": 1}


async def test_a_turn_without_steps_that_is_too_late_fails_without_a_further_write() -> None:
    store = RecordingStore(durable=True)

    async def late(ctx: Context) -> AsyncIterator[AgentEvent]:
        cast(RunContext, ctx).time.expire()
        await asyncio.get_running_loop().create_future()
        yield ""

    async with acting(late, store=store) as actor:
        await actor.submit("t")
        assert await actor.until_ended("t") == ["turn_failed"]
    assert [call for call in store.calls if call != "release"] == ["accept_turn", "end_turn"]
    assert store.steps.kept == []


async def test_a_turn_without_steps_is_cancelled_without_a_further_write() -> None:
    store, begun = RecordingStore(durable=True), asyncio.Event()

    async def waiting(_ctx: Context) -> AsyncIterator[AgentEvent]:
        begun.set()
        await asyncio.get_running_loop().create_future()
        yield ""

    async with acting(waiting, store=store) as actor:
        await actor.submit("t")
        await begun.wait()
        await actor.session.cancel("t")
    assert [call for call in store.calls if call != "release"] == ["accept_turn", "end_turn"]


async def test_a_drained_turn_s_clean_up_is_neither_done_nor_recorded_since_it_goes_on(ran: Ran) -> None:
    store = RecordingStore(durable=True)
    async with acting(undoing(ran), store=store) as actor:
        await actor.submit("t")
        await ran.until_called("waits")
        await actor.session.settle(0)
    assert ran.calls == {"a": 1, "waits": 1}
    assert [row.name for row in store.steps.kept] == ["a"]
    async with acting(undoing(ran), store=store, epoch=Epoch(EPOCH + 1)) as owner:
        await ran.until_called("waits", 2)
        await owner.session.cancel("t")
        assert await owner.until_ended("t") == ["turn_cancelled"]
    assert ran.calls == {"a": 1, "waits": 2, "undo": 1}


async def test_nothing_is_undone_where_the_session_has_failed_since_its_turn_goes_on(ran: Ran) -> None:
    store = RecordingStore(durable=True)
    store.errors["start_tool"] = StoreUnavailable()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("a", ran.effect, "a"))
        try:
            await ctx.tool("tool", ran.effect, name="tool")
        finally:
            await ctx.step("undo", ran.effect, "undo")

    async with acting(agent, store=store) as actor:
        await actor.submit("t")
        await asyncio.wait([actor.runner])
        assert actor.failure is store.errors["start_tool"]
    assert ran.calls == {"a": 1}


def calling(ran: Ran) -> Agent:
    """Calls a tool that never answers, and commits a step beside it."""

    async def hangs() -> str:
        ran.called("hangs")
        return str(await asyncio.get_running_loop().create_future())

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.tool("answers", ran.effect, name="answers")
        tool = asyncio.ensure_future(ctx.tool("hangs", hangs))
        await ran.until_called("hangs", ctx.attempt)
        if ctx.attempt == 1:
            yield str(await ctx.step("a", ran.effect, "a"))
            ran.called("waits")
        yield str(await tool)

    return agent


def results(events: list[Event]) -> list[tuple[str, str, int]]:
    return [
        (event.tool_result.name, event.tool_result.reason, event.attempt)
        for event in events
        if event.HasField("tool_result")
    ]


@pytest.mark.parametrize("end", ["decided", "cancelled before it runs", "attempts exhausted"])
async def test_a_call_that_stays_valid_has_a_result_where_the_next_attempt_is_not_executed(ran: Ran, end: str) -> None:
    store = RecordingStore(durable=True)
    async with acting(calling(ran), store=store) as lost:
        await lost.submit("t")
        await ran.until_called("waits")
        if end == "decided":
            store.hold("end_turn")
            cancelling = asyncio.ensure_future(lost.session.cancel("t"))
            await store.reached["end_turn"].wait()
            lost.drop()
            await asyncio.wait([cancelling])
            store.held.clear()
        (call,) = [e.tool_call for e in lost.events() if e.HasField("tool_call") and e.tool_call.name == "hangs"]
    async with acting(calling(ran), store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        if end == "attempts exhausted":
            few = replace(owner.env.limits, max_attempts=1, most_attempts=1)
            owner.session.env = replace(owner.env, limits=few)
        if end == "cancelled before it runs":
            await owner.session.cancel("t")
        how = await owner.until_ended("t")
        assert how == ["turn_failed" if end == "attempts exhausted" else "turn_cancelled"]
        assert results(owner.events()) == [("hangs", "TOOL_CANCELLED", 2)]
        answer = next(e.tool_result for e in owner.events() if e.HasField("tool_result"))
        assert (answer.call_id, len(answer.error_id)) == (call.call_id, 16)
    assert ran.calls["hangs"] == 1
