"""A Converse stream that another node served before: it goes on as if nothing had been."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from agentring import metadata
from agentring.agent import AgentEvent, Context
from agentring.errors import MalformedRequest, NodeDraining, ResumeOffsetExpired
from agentring.ids import Epoch
from agentring.v1.session_pb2 import ConverseRequest, Event
from harness.calls import FakeConversation
from harness.premises import Stage
from harness.sessions import EPOCH, Actor, acting
from harness.stores import RecordingStore
from harness.streams import first_seq, merged

NEXT = Epoch(EPOCH + 1)
RANGE = 100
STREAM = {metadata.STREAM_ID: "stream", metadata.SESSION_ID: "s"}


async def echoing(ctx: Context) -> AsyncIterator[AgentEvent]:
    for character in ctx.input_text:
        yield character


def taken_over(
    actor: Actor, frames: str, after_seq: int | None, *, begins_after: int | None = 0, epoch: int = EPOCH
) -> FakeConversation:
    """A stream that the router brings here. frames: first and last, as it says them."""
    told = STREAM | {metadata.FRAMES: frames, metadata.EPOCH: str(epoch)}
    if after_seq is not None:
        told[metadata.AFTER_SEQ] = str(after_seq)
    if begins_after is not None:
        told[metadata.BEGINS_AFTER] = str(begins_after)
    stream = FakeConversation(actor.session, told)
    if int(frames.split()[0]) > 1:
        stream.frame(ConverseRequest())  # in place of what was acknowledged
    return stream


def begun(actor: Actor, after_seq: int | None = None) -> FakeConversation:
    stream = FakeConversation(actor.session, dict(STREAM))
    stream.open(after_seq)
    return stream


async def lost(stream: FakeConversation) -> None:
    """Its connection is gone."""
    stream.served.cancel()
    await asyncio.wait([stream.served])


def assert_goes_on(events: list[Event], after_seq: int) -> None:
    """Nothing lacks after a seq, and nothing that was told is told again."""
    covered = [(first_seq(event), event.seq) for event in events if event.seq]
    for (_, before), (first, last) in pairwise([(0, after_seq), *covered]):
        assert first == before + 1 <= last, covered


async def test_the_first_node_says_where_a_stream_begins() -> None:
    async with acting(echoing) as actor:
        await actor.submit("a", "hi")
        await actor.until_ended("a")
        head_seq = actor.session.log.head_seq
        live, resumed = begun(actor), begun(actor, 2)
        for stream in (live, resumed):
            stream.close()
            await stream.served
        assert live.headers[metadata.BEGINS_AFTER] == str(head_seq)
        assert resumed.headers[metadata.BEGINS_AFTER] == "2"
        again = taken_over(actor, "2 1", head_seq, begins_after=2)
        again.close()
        await again.served
        assert metadata.BEGINS_AFTER not in again.headers


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_stream_goes_on_at_every_seq_and_its_turn_is_told_once(acknowledged: bool) -> None:
    async with acting(echoing) as actor:
        whole = begun(actor)
        whole.turn("a", "Grüße 🎉")
        whole.close()
        await whole.served
        for seen_seq in range(1, actor.session.log.head_seq + 1):
            again = taken_over(actor, "3 2" if acknowledged else "2 2", seen_seq)
            if not acknowledged:
                again.turn("a", "Grüße 🎉")
            again.close()
            await again.served
            assert "opened" not in again.kinds
            assert_goes_on(again.events, seen_seq)
            last_seq = again.responses[-1].through_seq if again.responses else seen_seq
            assert last_seq == actor.session.log.head_seq
            if seen_seq == 1:
                assert merged(again.events) == merged(whole.events)[1:]
        assert actor.store.calls.count("accept_turn") == 1


async def test_a_stream_whose_client_was_told_nothing_begins_where_it_began_at_first() -> None:
    """Else what was told between the two nodes would be missing from a stream that asked for what comes from now on."""
    async with acting(echoing) as actor:
        await actor.submit("before", "x")
        await actor.until_ended("before")
        begins_after = actor.session.log.head_seq
        first = begun(actor)
        first.turn("a", "hello")
        await lost(first)  # it may have been dealt with or not
        await actor.submit("a", "hello")
        await actor.until_ended("a")
        again = taken_over(actor, "1 2", None, begins_after=begins_after)
        again.open()
        again.turn("a", "hello")
        again.close()
        await again.served
        assert again.kinds[0] == "opened"
        assert again.of("turn_completed")[0].turn_id == "a"
        assert_goes_on(again.events, begins_after)
        assert not [event for event in again.events if event.turn_id == "before"]


@pytest.mark.parametrize("frames", ["2 2", "2 1"])
async def test_the_story_of_an_older_turn_that_was_asked_for_is_told_in_any_case(frames: str) -> None:
    """Whether the lost node had dealt with the frame or not: nothing else would bring that story."""
    async with acting(echoing) as actor:
        await actor.submit("old", "abc")
        await actor.until_ended("old")
        old_seq = actor.session.log.head_seq
        await actor.submit("new", "def")
        await actor.until_ended("new")
        again = taken_over(actor, frames, actor.session.log.head_seq, begins_after=old_seq)
        again.turn("old", "abc")
        again.close()
        await again.served
        assert [event.turn_id for event in again.of("turn_completed")] == ["old"]
        assert {event.turn_id for event in again.events} == {"old"}


@pytest.mark.parametrize(("frames", "again_told"), [("3 3", 0), ("3 2", 1)])
async def test_a_turn_that_the_stream_has_told_is_told_again_only_to_who_asks_anew(
    frames: str, again_told: int
) -> None:
    async with acting(echoing) as actor:
        first = begun(actor)
        first.turn("a", "abc")
        first.close()
        await first.served
        again = taken_over(actor, frames, actor.session.log.head_seq)
        again.turn("a", "abc")
        again.close()
        await again.served
        assert len(again.of("turn_completed")) == again_told
        assert again.acked_frame == 3


async def test_a_stream_whose_client_has_no_more_to_send_ends_with_its_acknowledged_turn() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        first = begun(actor)
        first.turn("a")
        await first.until(lambda: first.acked_frame == 2 and first.of("text_delta"))
        seen_seq = first.responses[-1].through_seq
        await lost(first)
        again = taken_over(actor, "3 2", seen_seq)
        again.close()
        await again.until(lambda: again.acked_frame == 2)
        assert not again.served.done()
        stage.go.set()
        await again.served
        assert again.of("turn_completed")
        assert_goes_on(again.events, seen_seq)


async def test_a_stream_does_not_wait_for_turns_from_before_it_began() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        await actor.submit("others")
        await stage.begun.wait()
        head_seq = actor.session.log.head_seq
        again = taken_over(actor, "2 1", head_seq, begins_after=head_seq)
        again.close()
        await again.served
        stage.go.set()
        await actor.until_ended("others")


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("seen", ["accepted", "words", "all"])
async def test_what_a_lost_node_had_stored_and_not_told_is_told_by_the_next(seen: str, kept: bool) -> None:
    """Where retention has dropped it: that there was something, and how the turns ended."""
    store = RecordingStore(durable=True, seq_range=RANGE)
    async with acting(echoing, store=store) as before:
        await before.submit("a", "abc")
        await before.submit("b", "x")
        await before.until_ended("a", "b")
        whole = before.events()
        ends = {event.turn_id: event for event in before.events() if event.HasField("turn_completed")}
        words = next(event.seq for event in before.events() if event.HasField("text_delta"))
        seen_seq = {"accepted": 1, "words": words, "all": ends["b"].seq}[seen]
        if not kept:
            await store.trim_events(before.owner, 1 << 20)
    async with acting(echoing, store=store, epoch=NEXT) as after:
        again = taken_over(after, "4 3", seen_seq)
        again.close()
        await again.served
        assert_goes_on(again.events, seen_seq)
        told = [event for event in again.events if event.HasField("turn_completed")]
        assert told == ([] if seen == "all" else [ends["a"], ends["b"]])
        if kept:
            rest = [event for event in merged(again.events) if not (isinstance(event, Event) and event.HasField("gap"))]
            assert rest == merged(whole)[len(merged(whole)) - len(rest) :]
        else:
            assert set(again.kinds) <= {"gap", "turn_completed"}
        seqs = [response.through_seq for response in again.responses]
        assert seqs == sorted(seqs)
        assert seqs[-1] == after.session.log.head_seq


async def test_a_turn_that_was_cut_is_told_anew_and_the_stream_ends_with_it() -> None:
    stage, store = Stage(), RecordingStore(durable=True, seq_range=RANGE)
    async with acting(stage.held, store=store) as before:
        first = begun(before)
        first.turn("a")
        first.close()
        await first.until(lambda: first.of("text_delta"))
        seen_seq = first.responses[-1].through_seq
        await lost(first)
    stage.go.set()
    async with acting(stage.held, store=store, epoch=NEXT) as after:
        again = taken_over(after, "3 2", seen_seq)
        again.close()
        await again.served
        assert_goes_on(again.events, seen_seq)
        assert again.kinds[0] == "attempt_restarted"
        assert [event.attempt for event in again.of("turn_completed")] == [2]


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_cancel_that_met_a_dying_node_cancels_the_turn_at_the_next(acknowledged: bool) -> None:
    stage, store = Stage(), RecordingStore(durable=True, seq_range=RANGE)
    async with acting(stage.held, store=store) as before:
        await before.submit("a")
        await stage.begun.wait()
    async with acting(stage.held, store=store, epoch=NEXT) as after:
        again = taken_over(after, "3 3" if acknowledged else "2 3", 1)
        if not acknowledged:
            again.turn("a")
        again.cancel("a")
        again.close()
        await again.served
        assert again.of("turn_cancelled")
        assert not again.of("turn_rejected")


async def test_a_cancel_that_had_been_carried_out_is_carried_out_again_without_a_word() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        first = begun(actor)
        first.turn("a")
        first.cancel("a")
        await first.until(lambda: first.of("turn_cancelled"))
        seen_seq = first.responses[-1].through_seq
        await lost(first)
        again = taken_over(actor, "3 3", seen_seq)
        again.cancel("a")
        again.close()
        await again.served
        assert not [kind for kind in again.kinds if kind != "heartbeat"]
        assert again.acked_frame == 3


async def test_a_frame_that_meets_the_drain_is_not_acknowledged() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        stream = begun(actor)
        await stream.until(lambda: stream.acked_frame == 1)
        await actor.drain(0)
        stream.turn("a")
        with pytest.raises(NodeDraining):
            await stream.served
        assert stream.acked_frame == 1


@pytest.mark.parametrize("seen_seq", [1, 4])
async def test_another_story_is_not_gone_on_with(seen_seq: int) -> None:
    """The volatile session was lost with its node, and made anew: its numbers mean other things."""
    async with acting(echoing, epoch=NEXT) as actor:
        await actor.submit("x", "another")
        await actor.until_ended("x")
        again = taken_over(actor, "2 1", seen_seq)
        with pytest.raises(ResumeOffsetExpired):
            await again.served
        assert not again.accepted


async def test_a_volatile_session_that_was_told_nothing_of_is_as_good_made_anew() -> None:
    async with acting(echoing, epoch=NEXT) as actor:
        again = taken_over(actor, "2 2", 0)
        again.turn("a", "hi")
        again.close()
        await again.served
        assert again.of("turn_completed")


async def test_a_seq_that_was_never_reached_is_no_place_to_go_on_from() -> None:
    async with acting(echoing) as actor:
        again = taken_over(actor, "2 1", 9)
        with pytest.raises(ResumeOffsetExpired):
            await again.served


@pytest.mark.parametrize("wrong", ["", "1", "1 2 3", "a b", "-1 2", "9" * 19 + " 1"])
async def test_words_that_no_router_says(wrong: str) -> None:
    async with acting(echoing) as actor:
        for told in ({metadata.FRAMES: wrong}, {metadata.FRAMES: "1 1", metadata.AFTER_SEQ: wrong}):
            if told.get(metadata.AFTER_SEQ) == "1":
                continue  # a number
            stream = FakeConversation(actor.session, told)
            stream.open()
            with pytest.raises(MalformedRequest):
                await stream.served
