"""A Converse stream that goes on over another connection: it misses nothing, and is sent nothing twice."""

import pytest

from agentring import metadata
from agentring.errors import MalformedRequest, NodeDraining, ResumeOffsetExpired
from harness.calls import FakeConversation
from harness.premises import Stage
from harness.resumed_streams import assert_continues, begin_stream, echoing, lose, resume_stream
from harness.sessions import acting
from harness.streams import merged


async def test_the_first_node_says_where_a_stream_begins() -> None:
    async with acting(echoing) as actor:
        await actor.submit("a", "hi")
        await actor.until_ended("a")
        head_seq = actor.session.log.head_seq
        live, resumed = begin_stream(actor), begin_stream(actor, 2)
        for stream in (live, resumed):
            stream.close()
            await stream.served
        assert live.headers[metadata.BEGINS_AFTER] == str(head_seq)
        assert resumed.headers[metadata.BEGINS_AFTER] == "2"
        resumed = resume_stream(actor, "2 1", head_seq, begins_after=2)
        resumed.close()
        await resumed.served
        assert metadata.BEGINS_AFTER not in resumed.headers


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_stream_goes_on_at_every_seq_and_its_turn_is_sent_once(acknowledged: bool) -> None:
    async with acting(echoing) as actor:
        whole = begin_stream(actor)
        whole.turn("a", "Grüße 🎉")
        whole.close()
        await whole.served
        for seen_seq in range(1, actor.session.log.head_seq + 1):
            resumed = resume_stream(actor, "3 2" if acknowledged else "2 2", seen_seq)
            if not acknowledged:
                resumed.turn("a", "Grüße 🎉")
            resumed.close()
            await resumed.served
            assert "opened" not in resumed.kinds
            assert_continues(resumed.events, seen_seq)
            last_seq = resumed.responses[-1].through_seq if resumed.responses else seen_seq
            assert last_seq == actor.session.log.head_seq
            if seen_seq == 1:
                assert merged(resumed.events) == merged(whole.events)[1:]
        assert actor.store.calls.count("accept_turn") == 1


async def test_a_stream_whose_client_was_sent_nothing_begins_where_it_began_at_first() -> None:
    """Else what was published between the two nodes would be missing from a stream that begins with what comes now."""
    async with acting(echoing) as actor:
        await actor.submit("before", "x")
        await actor.until_ended("before")
        begins_after = actor.session.log.head_seq
        first = begin_stream(actor)
        first.turn("a", "hello")
        await lose(first)  # it may have been dealt with or not
        await actor.submit("a", "hello")
        await actor.until_ended("a")
        resumed = resume_stream(actor, "1 2", None, begins_after=begins_after)
        resumed.open()
        resumed.turn("a", "hello")
        resumed.close()
        await resumed.served
        assert resumed.kinds[0] == "opened"
        assert resumed.of("turn_completed")[0].turn_id == "a"
        assert_continues(resumed.events, begins_after)
        assert not [event for event in resumed.events if event.turn_id == "before"]


@pytest.mark.parametrize("frames", ["2 2", "2 1"])
async def test_the_events_of_an_older_turn_that_was_asked_for_are_sent_in_any_case(frames: str) -> None:
    """Whether the lost node had dealt with the frame or not: nothing else would bring those events."""
    async with acting(echoing) as actor:
        await actor.submit("old", "abc")
        await actor.until_ended("old")
        old_seq = actor.session.log.head_seq
        await actor.submit("new", "def")
        await actor.until_ended("new")
        resumed = resume_stream(actor, frames, actor.session.log.head_seq, begins_after=old_seq)
        resumed.turn("old", "abc")
        resumed.close()
        await resumed.served
        assert [event.turn_id for event in resumed.of("turn_completed")] == ["old"]
        assert {event.turn_id for event in resumed.events} == {"old"}


@pytest.mark.parametrize(("frames", "sent_again"), [("3 3", 0), ("3 2", 1)])
async def test_a_turn_that_the_stream_was_sent_is_sent_again_only_when_asked_anew(frames: str, sent_again: int) -> None:
    async with acting(echoing) as actor:
        first = begin_stream(actor)
        first.turn("a", "abc")
        first.close()
        await first.served
        resumed = resume_stream(actor, frames, actor.session.log.head_seq)
        resumed.turn("a", "abc")
        resumed.close()
        await resumed.served
        assert len(resumed.of("turn_completed")) == sent_again
        assert resumed.acked_frame == 3


async def test_a_stream_whose_client_has_no_more_to_send_ends_with_its_acknowledged_turn() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        first = begin_stream(actor)
        first.turn("a")
        await first.until(lambda: first.acked_frame == 2 and first.of("text_delta"))
        seen_seq = first.responses[-1].through_seq
        await lose(first)
        resumed = resume_stream(actor, "3 2", seen_seq)
        resumed.close()
        await resumed.until(lambda: resumed.acked_frame == 2)
        assert not resumed.served.done()
        stage.go.set()
        await resumed.served
        assert resumed.of("turn_completed")
        assert_continues(resumed.events, seen_seq)


async def test_a_stream_does_not_wait_for_turns_from_before_it_began() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        await actor.submit("others")
        await stage.begun.wait()
        head_seq = actor.session.log.head_seq
        resumed = resume_stream(actor, "2 1", head_seq, begins_after=head_seq)
        resumed.close()
        await resumed.served
        stage.go.set()
        await actor.until_ended("others")


async def test_a_cancel_that_had_been_carried_out_is_carried_out_again_silently() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        first = begin_stream(actor)
        first.turn("a")
        first.cancel("a")
        await first.until(lambda: first.of("turn_cancelled"))
        seen_seq = first.responses[-1].through_seq
        await lose(first)
        resumed = resume_stream(actor, "3 3", seen_seq)
        resumed.cancel("a")
        resumed.close()
        await resumed.served
        assert not [kind for kind in resumed.kinds if kind != "heartbeat"]
        assert resumed.acked_frame == 3


async def test_a_frame_that_meets_the_drain_is_not_acknowledged() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        stream = begin_stream(actor)
        await stream.until(lambda: stream.acked_frame == 1)
        await actor.drain(0)
        stream.turn("a")
        with pytest.raises(NodeDraining):
            await stream.served
        assert stream.acked_frame == 1


async def test_a_stream_cannot_go_on_from_a_seq_that_was_never_reached() -> None:
    async with acting(echoing) as actor:
        resumed = resume_stream(actor, "2 1", 9)
        with pytest.raises(ResumeOffsetExpired):
            await resumed.served


@pytest.mark.parametrize("wrong", ["", "1", "1 2 3", "a b", "-1 2", "9" * 19 + " 1"])
async def test_metadata_that_no_router_sends(wrong: str) -> None:
    async with acting(echoing) as actor:
        for sent in ({metadata.FRAMES: wrong}, {metadata.FRAMES: "1 1", metadata.AFTER_SEQ: wrong}):
            if sent.get(metadata.AFTER_SEQ) == "1":
                continue  # a number
            stream = FakeConversation(actor.session, sent)
            stream.open()
            with pytest.raises(MalformedRequest):
                await stream.served
