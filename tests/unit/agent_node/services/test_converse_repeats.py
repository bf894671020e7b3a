"""What a Converse stream is sent of turns that it was sent before, or another stream was: resumes, repeated turns."""

from agent_node.events.attachment import Attachment
from agent_node.run.call_terms import NO_TERMS
from agent_node.services.converse import _Frames
from agent_node.services.resume_point import ResumePoint
from agentring.v1 import session_pb2
from harness.calls import FakeConversation
from harness.premises import Stage
from harness.sessions import Actor
from harness.streams import assert_gapless, merged


async def test_several_streams_see_the_same_and_a_resume_exactly_the_rest(actor: Actor) -> None:
    whole = FakeConversation(actor.session)
    whole.open()
    whole.turn("a", "Grüße 🎉")
    whole.close()
    await whole.served
    whole_events = merged(whole.events)
    for after_seq in range(actor.session.log.head_seq + 1):
        resumed = FakeConversation(actor.session)
        resumed.open(after_seq)
        resumed.close()
        await resumed.served
        assert assert_gapless(resumed.events, after_seq) == actor.session.log.head_seq
        if after_seq == 0:
            (accepted,) = resumed.of("turn_accepted")
            assert accepted.turn_accepted.input.text == "Grüße 🎉"  # which the stream that sent it has
            assert merged(resumed.events) == whole_events
    live = FakeConversation(actor.session)
    live.open()
    live.close()
    await live.served
    assert live.kinds == ["opened"]


async def test_a_turn_sent_again_is_told_again(actor: Actor) -> None:
    first = FakeConversation(actor.session)
    first.open()
    first.turn("a", "hello")
    first.turn("b", "more")
    first.close()
    await first.served
    again = FakeConversation(actor.session)
    again.open()
    again.turn("a", "hello")
    again.close()
    await again.served
    assert again.kinds[0] == "opened"
    assert merged(again.events[1:]) == [each for each in merged(first.events) if each.turn_id == "a"]
    assert {response.through_seq for response in again.responses} == {actor.session.log.head_seq}


async def test_a_turn_sent_again_while_it_runs_is_told_once_from_its_beginning(held: Actor, stage: Stage) -> None:
    first = FakeConversation(held.session)
    first.open()
    first.turn("a")
    await first.until(lambda: first.of("text_delta"))
    again = FakeConversation(held.session)
    again.open()
    again.turn("a")
    await again.until(lambda: again.of("text_delta"))
    stage.go.set()
    for conversation in (first, again):
        conversation.close()
        await conversation.served
    assert merged(again.events) == merged(first.events)


async def test_an_outcome_is_told_again_where_its_events_are_gone(actor: Actor) -> None:
    actor.session.log._max_bytes = 64 << 10
    first = FakeConversation(actor.session)
    first.open()
    first.turn("a", "hello")
    first.turn("b", "x" * (1 << 17))
    first.close()
    await first.served
    again = FakeConversation(actor.session)
    again.open()
    again.turn("a", "hello")
    again.turn("b", "x" * (1 << 17))
    again.close()
    await again.served
    sent = [(kind, event.turn_id) for kind, event in zip(again.kinds, again.events, strict=True)]
    assert sent[:3] == [("opened", ""), ("gap", ""), ("turn_completed", "a")]
    assert (sent[3], sent[-1]) == (("gap", ""), ("turn_completed", "b"))


async def test_a_node_that_must_not_merge_sends_every_event_alone_live_and_again(actor: Actor) -> None:
    for _ in range(2):
        conversation = FakeConversation(actor.session, merge_bytes=0)
        conversation.reads.clear()
        conversation.open()
        conversation.turn("a", "hello")
        conversation.close()
        await actor.until(lambda: "turn_completed a" in actor.kinds)
        conversation.reads.set()
        await conversation.served
        assert all(len(response.events) <= 1 for response in conversation.responses)
        texts = [event.text_delta.text for event in conversation.of("text_delta")]
        assert texts == list("hello")


async def test_a_stream_that_stays_open_remembers_no_ended_turns(actor: Actor) -> None:
    with Attachment(actor.session.log, 0, heartbeat_s=60) as attachment:
        frames = _Frames(actor.session, attachment, "stream", ResumePoint(), lambda turn: NO_TERMS)
        for number in range(2, 100):
            await frames._turn(session_pb2.Turn(), number)
            await actor.until_ended(f"stream.{number}")
        assert list(frames._sent) == ["stream.99"]
