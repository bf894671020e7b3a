"""A Converse stream at its session's next owner: it goes on as if nothing had been."""

import pytest

from agentring.errors import ResumeOffsetExpired
from agentring.ids import Epoch
from agentring.v1.session_pb2 import Event
from harness.premises import Stage
from harness.resumed_streams import assert_continues, begin_stream, echoing, lose, resume_stream
from harness.sessions import EPOCH, acting
from harness.stores import RecordingStore
from harness.streams import merged

NEXT = Epoch(EPOCH + 1)


RANGE = 100


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("seen", ["accepted", "text", "all"])
async def test_what_a_lost_node_had_stored_and_not_sent_is_sent_by_the_next(seen: str, kept: bool) -> None:
    """Where retention has dropped it: that there was something, and how the turns ended."""
    store = RecordingStore(durable=True, seq_range=RANGE)
    async with acting(echoing, store=store) as before:
        await before.submit("a", "abc")
        await before.submit("b", "x")
        await before.until_ended("a", "b")
        whole = before.events()
        ends = {event.turn_id: event for event in before.events() if event.HasField("turn_completed")}
        text_seq = next(event.seq for event in before.events() if event.HasField("text_delta"))
        seen_seq = {"accepted": 1, "text": text_seq, "all": ends["b"].seq}[seen]
        if not kept:
            await store.trim_events(before.owner, 1 << 20)
    async with acting(echoing, store=store, epoch=NEXT) as after:
        resumed = resume_stream(after, "4 3", seen_seq)
        resumed.close()
        await resumed.served
        assert_continues(resumed.events, seen_seq)
        ended = [event for event in resumed.events if event.HasField("turn_completed")]
        assert ended == ([] if seen == "all" else [ends["a"], ends["b"]])
        if kept:
            rest = [
                event for event in merged(resumed.events) if not (isinstance(event, Event) and event.HasField("gap"))
            ]
            assert rest == merged(whole)[len(merged(whole)) - len(rest) :]
        else:
            assert set(resumed.kinds) <= {"gap", "turn_completed"}
        seqs = [response.through_seq for response in resumed.responses]
        assert seqs == sorted(seqs)
        assert seqs[-1] == after.session.log.head_seq


async def test_an_interrupted_turn_is_sent_anew_and_the_stream_ends_with_it() -> None:
    stage, store = Stage(), RecordingStore(durable=True, seq_range=RANGE)
    async with acting(stage.held, store=store) as before:
        first = begin_stream(before)
        first.turn("a")
        first.close()
        await first.until(lambda: first.of("text_delta"))
        seen_seq = first.responses[-1].through_seq
        await lose(first)
    stage.go.set()
    async with acting(stage.held, store=store, epoch=NEXT) as after:
        resumed = resume_stream(after, "3 2", seen_seq)
        resumed.close()
        await resumed.served
        assert_continues(resumed.events, seen_seq)
        assert resumed.kinds[0] == "attempt_restarted"
        assert [event.attempt for event in resumed.of("turn_completed")] == [2]


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_cancel_that_met_a_dying_node_cancels_the_turn_at_the_next(acknowledged: bool) -> None:
    stage, store = Stage(), RecordingStore(durable=True, seq_range=RANGE)
    async with acting(stage.held, store=store) as before:
        await before.submit("a")
        await stage.begun.wait()
    async with acting(stage.held, store=store, epoch=NEXT) as after:
        resumed = resume_stream(after, "3 3" if acknowledged else "2 3", 1)
        if not acknowledged:
            resumed.turn("a")
        resumed.cancel("a")
        resumed.close()
        await resumed.served
        assert resumed.of("turn_cancelled")
        assert not resumed.of("turn_rejected")


@pytest.mark.parametrize("seen_seq", [1, 4])
async def test_a_stream_does_not_continue_with_another_log(seen_seq: int) -> None:
    """The volatile session was lost with its node, and made anew: its numbers mean other things."""
    async with acting(echoing, epoch=NEXT) as actor:
        await actor.submit("x", "another")
        await actor.until_ended("x")
        resumed = resume_stream(actor, "2 1", seen_seq)
        with pytest.raises(ResumeOffsetExpired):
            await resumed.served
        assert not resumed.accepted


async def test_a_volatile_session_of_which_nothing_was_sent_may_be_made_anew() -> None:
    async with acting(echoing, epoch=NEXT) as actor:
        resumed = resume_stream(actor, "2 2", 0)
        resumed.turn("a", "hi")
        resumed.close()
        await resumed.served
        assert resumed.of("turn_completed")
