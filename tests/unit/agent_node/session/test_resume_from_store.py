"""A resume at every seq: however events were merged, and whichever node sends them, the rest is the same byte for byte.

A turn of 500 events, read while it runs, once it has ended, once memory has dropped it, and at the next owner.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agent_node.events.attachment import Attachment
from agent_node.events.entries import READ_BYTES
from agentring.agent import AgentEvent, Context
from agentring.errors import NodeFenced, ResumeOffsetExpired, SessionCorrupt, StoreUnavailable
from agentring.ids import Epoch
from agentring.v1.session_pb2 import Event
from harness.premises import Stage
from harness.read_events import next_of
from harness.sessions import EPOCH, Actor, acting
from harness.stores import RecordingStore
from harness.streams import assert_gapless

NEXT = Epoch(EPOCH + 1)


RANGE = 10_000


PIECES = [("日本語 ", "x", "ü — ", "🎉🎊")[n % 4] * (1 + n % 7) for n in range(500)]
PIECES[100] = "long " * 1_500  # more than one event may hold, so it has more numbers than one


class Talker:
    """An agent that says PIECES, waits half-way, and calls a tool there."""

    def __init__(self) -> None:
        self.half = asyncio.Event()
        self.go = asyncio.Event()

    async def talk(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        if ctx.input_text:
            yield ctx.input_text
            return
        for piece in PIECES[:250]:
            yield piece
        self.half.set()
        await self.go.wait()
        await ctx.tool("look", _look, at="it")
        for piece in PIECES[250:]:
            yield piece


async def _look(at: str) -> str:
    return at


async def read_from(actor: Actor, after_seq: int, through_seq: int, merge_bytes: int = READ_BYTES) -> list[Event]:
    """What a stream is sent that begins after a seq."""
    events: list[Event] = []
    with Attachment(actor.session.log, after_seq, heartbeat_s=60, merge_bytes=merge_bytes) as attachment:
        attachment.end_after(lambda: through_seq)
        while (more := await next_of(attachment)) is not None:
            events += more
    return events


def text_of(events: list[Event]) -> str:
    return "".join(event.text_delta.text for event in events)


def cut(events: list[Event]) -> dict[int, str]:
    """Of events which were not merged: what comes after each number."""
    rest, after = "", {events[-1].seq: ""}
    for event in reversed(events):
        rest = event.text_delta.text + rest
        after[event.seq - 1] = rest
    return after


async def assert_resumes(actor: Actor, after: dict[int, str], whole: list[Event]) -> None:
    """At every seq, merged or not."""
    last_seq = max(after)
    for after_seq, rest in after.items():
        events = await read_from(actor, after_seq, last_seq)
        assert assert_gapless(events, after_seq) == last_seq
        assert text_of(events) == rest
        others = [event for event in events if not event.HasField("text_delta")]
        assert others == [event for event in whole if not event.HasField("text_delta") and event.seq > after_seq]
    alone = await read_from(actor, 0, last_seq, merge_bytes=0)
    assert alone == whole


async def test_at_every_seq_of_a_turn_while_it_runs_afterwards_from_the_store_and_at_the_next_owner() -> None:
    talker, store = Talker(), RecordingStore(durable=True, seq_range=RANGE)
    async with acting(talker.talk, store=store) as actor:
        await actor.submit("t", "")
        await talker.half.wait()
        half_seq = actor.session.log.head_seq
        begun = await read_from(actor, 0, half_seq, merge_bytes=0)
        await assert_resumes(actor, cut(begun), begun)
        talker.go.set()
        await actor.until_ended("t")
        end_seq = actor.session.log.head_seq
        whole = await read_from(actor, 0, end_seq, merge_bytes=0)
        assert [event.seq for event in whole] == list(range(1, end_seq + 1))
        assert len(whole) > 500
        assert text_of(whole) == "".join(PIECES)
        after = cut(whole)
        await assert_resumes(actor, after, whole)

        actor.session.log._max_bytes = 1
        await actor.submit("next", "drops the other from memory")
        await actor.until_ended("next")
        assert actor.session.log.oldest_seq == 1
        await assert_resumes(actor, after, whole)
    async with acting(talker.talk, store=store, epoch=NEXT) as next_owner:
        assert next_owner.session.log.oldest_seq == 1
        await assert_resumes(next_owner, after, whole)


async def test_what_is_stored_ends_with_what_has_ended_and_an_interrupted_attempt_is_not_in_it() -> None:
    stage, store = Stage(), RecordingStore(durable=True, seq_range=RANGE)
    async with acting(stage.held, store=store) as lost:
        stage.go.set()
        await lost.submit("ended")
        await lost.until_ended("ended")
        head_seq = lost.session.log.head_seq
        stage.go.clear()
        stage.begun.clear()
        await lost.submit("cut")
        await stage.begun.wait()
        assert lost.session.log.head_seq > head_seq
    stage.go.set()
    async with acting(stage.held, store=store, epoch=NEXT) as actor:
        await actor.until_ended("cut")
        events = await read_from(actor, 0, actor.session.log.head_seq)
        assert assert_gapless(events, 0) == actor.session.log.head_seq
        assert next(event.attempt for event in events if event.turn_id == "cut") == 2
    async with acting(stage.held, store=store, epoch=Epoch(NEXT + 1)) as third:
        # The second owner's first event, which covers what the first may have published, is stored like all else.
        resumed = await read_from(third, 0, max(event.seq for event in events))
        assert resumed == events


async def test_a_waiting_turns_end_is_stored_in_order_among_the_running_ones_text() -> None:
    stage, store = Stage(), RecordingStore(durable=True, seq_range=RANGE)
    async with acting(stage.held, store=store) as actor:
        await actor.submit("runs")
        await stage.begun.wait()
        await actor.submit("waits")
        await actor.session.cancel("waits")
        assert await store.memory.read_events(actor.owner.ref, 0, 1) == []
        stage.go.set()
        await actor.until_ended("runs")
        sent = await read_from(actor, 0, actor.session.log.head_seq)
        actor.session.log._max_bytes = 1
        await actor.submit("after")
        await actor.until_ended("after")
        assert await read_from(actor, 0, sent[-1].seq) == sent


async def test_beyond_the_bound_the_oldest_turns_go_first_and_what_is_left_is_whole() -> None:
    async def talking(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "x" * 10_000

    store = RecordingStore(durable=True, seq_range=RANGE)
    async with acting(talking, store=store) as actor:
        actor.session.events._max_bytes = 64 << 10
        actor.session.log._max_bytes = 1
        for number in range(20):
            await actor.submit(str(number))
            await actor.until_ended(str(number))
        await actor.session.flights.all_ended()
        log = actor.session.log
        turn = actor.session.turn("19")
        kept = await store.memory.read_events(actor.owner.ref, 0, 1 << 30)
        assert (64 << 10) * 3 / 4 < sum(len(row.events) for row in kept) < (64 << 10) * 9 / 8 + 10_000
        assert kept[0].first_seq == log.oldest_seq > 1
        assert kept[-1].seq == log.head_seq
        with pytest.raises(ResumeOffsetExpired) as expired:
            log.start_after(log.oldest_seq - 2)
        assert (expired.value.oldest_seq, expired.value.head_seq) == (log.oldest_seq, log.head_seq)
        assert log.start_after(log.oldest_seq - 1) == log.oldest_seq - 1
        gap, *events = await read_from(actor, 0, log.head_seq)
        assert (gap.HasField("gap"), gap.first_seq, gap.seq) == (True, 1, log.oldest_seq - 1)
        assert assert_gapless(events, gap.seq) == turn.end_seq
        assert store.calls.count("trim_events") >= 2
    async with acting(talking, store=store, epoch=NEXT) as actor:
        assert actor.session.log.oldest_seq == kept[0].first_seq


async def test_the_oldest_events_are_dropped_behind_a_turn_and_not_in_the_midst_of_one(stage: Stage) -> None:
    """Its tools and its end would wait for that."""
    store = RecordingStore(durable=True, seq_range=RANGE)
    async with acting(Talker().talk, store=store) as actor:
        await actor.submit("a", "x" * 10_000)
        await actor.until_ended("a")
    store.calls.clear()
    async with acting(stage.held, store=store, epoch=NEXT) as actor:
        actor.session.events._max_bytes = 1_000
        await actor.submit("b")
        await stage.begun.wait()
        assert store.calls == ["accept_turn"]
        stage.go.set()
        await actor.until_ended("b")
        await store.reached["trim_events"].wait()
        assert store.calls == ["accept_turn", "commit_turn", "trim_events"]


async def test_what_the_store_cannot_be_asked_for_ends_the_stream_and_not_the_session() -> None:
    async def echoing(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ctx.input_text

    async with acting(echoing, store=RecordingStore(durable=True)) as actor:
        actor.session.log._max_bytes = 1
        await actor.submit("a", "1")
        await actor.until_ended("a")
        actor.store.errors["read_events"] = StoreUnavailable()
        with pytest.raises(StoreUnavailable):
            await read_from(actor, 0, 1)
        await actor.submit("b", "2")
        assert await actor.until_ended("b") == ["turn_completed"]


async def test_what_cannot_be_read_any_more_ends_the_stream_and_not_the_session() -> None:
    async def echoing(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ctx.input_text

    async with acting(echoing, store=RecordingStore(durable=True)) as actor:
        actor.session.log._max_bytes = 1
        await actor.submit("a", "1")
        await actor.until_ended("a")
        rows = actor.store.memory._events[actor.session.ref]
        rows[0] = replace(rows[0], events=b"\xff")
        with pytest.raises(SessionCorrupt):
            await read_from(actor, 0, 1)
        await actor.submit("b", "2")
        assert await actor.until_ended("b") == ["turn_completed"]


async def test_a_stream_that_reads_the_store_misses_neither_new_events_nor_a_fence() -> None:
    async def echoing(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ctx.input_text

    store = RecordingStore(durable=True, seq_range=RANGE)
    async with acting(echoing, store=store) as actor:
        await actor.submit("a", "1")
        await actor.until_ended("a")
        actor.session.log.shrink(0, actor.session.log.head_seq)
        go = store.hold("read_events")
        log = actor.session.log
        with (
            Attachment(log, 0, heartbeat_s=60) as cut_off,
            Attachment(log, 0, heartbeat_s=60) as attachment,
            Attachment(log, 0, heartbeat_s=60, check=actor.session.check_delivery) as fenced,
        ):
            reads = [asyncio.ensure_future(next_of(each)) for each in (cut_off, attachment, fenced)]
            await store.reached["read_events"].wait()
            reads[0].cancel()
            await actor.submit("b", "2")
            await actor.until_ended("b")
            go.set()
            events = await reads[1] or []
            events += await next_of(attachment) or []
            assert assert_gapless(events, 0) == log.head_seq
            assert text_of(events) == "12"
            await asyncio.wait(reads)
            assert (cut_off.through_seq, reads[2].exception()) == (0, None)

            fenced.through_seq = 0
            store.held["read_events"] = asyncio.Event()
            store.reached["read_events"].clear()
            late = asyncio.ensure_future(next_of(fenced))
            await store.reached["read_events"].wait()
            actor.clock.advance(60)
            store.held["read_events"].set()
            with pytest.raises(NodeFenced):
                await late
