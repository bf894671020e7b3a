"""Who watches a run sees its longer steps begin and end; the short ones cost no event."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from agent_node.run import step_events
from agentring.agent import AgentEvent, Context
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event
from harness.sessions import EPOCH, Actor, acting, kind_of
from harness.stores import RecordingStore


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are shown as soon as they wait for something."""
    monkeypatch.setattr(step_events, "SHOWN_AFTER_S", 0.0)


def shown(events: Sequence[Event]) -> list[tuple[str, str]]:
    found = []
    for event in events:
        if event.HasField("step_begun"):
            found.append((event.step_begun.name, "begun"))
        elif event.HasField("step_ended"):
            found.append((event.step_ended.name, session_pb2.StepOutcome.Name(event.step_ended.outcome)[13:].lower()))
    return found


class Steps:
    """Functions of steps that end once they have been shown."""

    def __init__(self) -> None:
        self.actor: Actor | None = None
        self.hangs = asyncio.Event()

    async def _until_shown(self, name: str) -> None:
        actor = self.actor
        assert actor is not None
        before = shown(actor.events()).count((name, "begun"))
        await actor.until(lambda: shown(actor.events()).count((name, "begun")) > before)

    async def slow(self, name: str) -> str:
        await self._until_shown(name)
        return name

    async def fails(self, name: str) -> str:
        await self._until_shown(name)
        raise LookupError(name)

    async def hang(self) -> None:
        await self._until_shown("hang")
        self.hangs.set()
        await asyncio.Event().wait()


@pytest.mark.usefixtures("at_once")
async def test_steps_are_told_as_they_begin_and_end_each_inside_its_outer_one() -> None:
    steps = Steps()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def outer() -> str:
            await steps.slow("outer")
            return str(await ctx.step("inner", steps.slow, "inner"))

        yield str(await ctx.step("outer", outer))
        try:
            await ctx.step("fails", steps.fails, "fails")
        except Exception:
            yield " failed"

        async def pieces() -> AsyncIterator[str]:
            await steps.slow("stream")
            yield " streamed"

        async for piece in ctx.stream_step("stream", pieces):
            yield piece
        yield str(await ctx.tool("tool", quick))

    async def quick() -> str:
        await asyncio.sleep(0)
        return " tool"

    async with acting(agent, store=RecordingStore(durable=True)) as actor:
        steps.actor = actor
        await actor.submit("t")
        assert await actor.until_ended("t") == ["turn_completed"]
        events = actor.events()
    assert shown(events) == [
        ("outer", "begun"),
        ("inner", "begun"),
        ("inner", "completed"),
        ("outer", "completed"),
        ("fails", "begun"),
        ("fails", "failed"),
        ("stream", "begun"),
        ("stream", "completed"),
    ]
    begun = {event.step_begun.name: event for event in events if event.HasField("step_begun")}
    ended = {event.step_ended.name: event.step_ended for event in events if event.HasField("step_ended")}
    outer = begun["outer"].step_begun
    assert (outer.parent_id, len(outer.step_id), begun["outer"].attempt) == ("", 32, 1)
    assert begun["inner"].step_begun.parent_id == ended["inner"].parent_id == outer.step_id
    assert ended["outer"].step_id == outer.step_id
    assert ended["outer"].duration.ToNanoseconds() >= ended["inner"].duration.ToNanoseconds() > 0
    assert outer.begin_time.ToNanoseconds() <= begun["outer"].time.ToNanoseconds()


async def test_short_steps_cost_no_event() -> None:
    async def quick(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for number in range(20):
            await ctx.step("quick", quick, number)
        yield "done"

    async with acting(agent, store=RecordingStore(durable=True)) as actor:
        await actor.submit("t")
        await actor.until_ended("t")
        assert [kind_of(event) for event in actor.events()] == [
            "turn_accepted",
            "turn_started",
            "text_delta",
            "turn_completed",
        ]


@pytest.mark.usefixtures("at_once")
async def test_of_many_steps_some_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_events, "MOST_SHOWN", 2)

    async def waits(number: int) -> int:
        for _ in range(20):
            await asyncio.sleep(0)
        return number

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for number in range(5):
            await ctx.step(f"s{number}", waits, number)
        yield "done"

    async with acting(agent, store=RecordingStore(durable=True)) as actor:
        await actor.submit("t")
        await actor.until_ended("t")
        assert [name for name, how in shown(actor.events()) if how == "completed"] == ["s0", "s1"]


@pytest.mark.usefixtures("at_once")
async def test_a_step_that_is_answered_from_its_record_is_not_told_again() -> None:
    steps, store = Steps(), RecordingStore(durable=True)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.step("first", steps.slow, "first")
        await ctx.step("second", steps.slow, "second")
        await ctx.step("hang", steps.hang)
        yield ""

    async with acting(agent, store=store) as lost:
        steps.actor = lost
        await lost.submit("t")
        await steps.hangs.wait()
        before = lost.events()
        assert shown(before)[-1] == ("hang", "begun")
    steps.hangs.clear()
    async with acting(agent, store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        steps.actor = owner
        await steps.hangs.wait()
        events = owner.events()
        now = [event for event in events if event.attempt == 2]
        assert shown(now) == [("hang", "begun")]
        (begun,) = [event.step_begun for event in now if event.HasField("step_begun")]
        assert begun.replayed_steps == 2
        restart = next(event.attempt_restarted for event in now if event.HasField("attempt_restarted"))
        valid = [event for event in before if event.seq <= restart.valid_through_seq]
        # What the last commit left is said to be valid, and with it both steps' ends.
        assert shown(valid) == [(name, how) for name in ("first", "second") for how in ("begun", "completed")]
        await owner.session.cancel("t")
        assert shown(owner.events())[-1] == ("hang", "cancelled")
        assert kind_of(owner.events()[-1]) == "turn_cancelled"
