"""One Converse stream: frames in, events out, each at its own pace."""

import pytest

from agentring import metadata
from agentring.errors import (
    AgentMismatch,
    AgentringError,
    FirstFrameNotOpen,
    InvalidTurnId,
    MalformedRequest,
    NodeDraining,
    NodeFenced,
    ResumeOffsetExpired,
    SecondOpen,
    SessionClosed,
)
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ON_BUSY_INTERRUPT, ON_BUSY_REJECT, ConverseRequest
from harness.calls import FakeConversation, ended
from harness.premises import Stage
from harness.sessions import Actor
from harness.streams import assert_gapless


async def test_a_stream_ends_with_its_last_turn_once_the_client_has_no_more_to_send(actor: Actor) -> None:
    conversation = FakeConversation(actor.session)
    conversation.open()
    conversation.turn("a", "héllo")
    conversation.turn("b", "more")
    conversation.close()
    await conversation.served
    assert conversation.accepted
    opened = conversation.events[0].opened
    assert (opened.session_id, opened.node_id, opened.agent, opened.head_seq, opened.oldest_seq) == (
        "s",
        "n1",
        "agent",
        0,
        1,
    )
    assert assert_gapless(conversation.events, 0) == conversation.responses[-1].through_seq
    assert [event.turn_id for event in conversation.of("turn_completed")] == ["a", "b"]
    assert conversation.acked_frame == 3
    acked = [response.acked_frame for response in conversation.responses]
    assert acked == sorted(acked)
    assert all(
        response.HasField("through_seq") and response.HasField("acked_frame") for response in conversation.responses
    )


async def test_a_stream_that_sends_nothing_is_opened_and_ends(actor: Actor) -> None:
    conversation = FakeConversation(actor.session)
    conversation.open()
    conversation.close()
    await conversation.served
    assert conversation.kinds == ["opened"]
    assert conversation.targets == ["session/s"]


@pytest.mark.parametrize("first", ["turn", "nothing", "empty"])
async def test_a_stream_must_begin_with_open(actor: Actor, first: str) -> None:
    conversation = FakeConversation(actor.session)
    if first == "turn":
        conversation.turn("a")
    elif first == "empty":
        conversation.frame(ConverseRequest())
    else:
        conversation.close()
    with pytest.raises(FirstFrameNotOpen):
        await conversation.served
    assert (conversation.accepted, conversation.responses, actor.store.calls) == (False, [], [])


async def test_a_refusal_at_the_open_comes_before_the_stream_is_accepted(actor: Actor) -> None:
    for wrong, error in (({"agent": "other"}, AgentMismatch), ({"after_seq": 1}, ResumeOffsetExpired)):
        conversation = FakeConversation(actor.session)
        conversation.open(**wrong)
        with pytest.raises(error):
            await conversation.served
        assert not conversation.accepted


async def test_a_frame_that_is_refused_is_answered_and_the_stream_goes_on(held: Actor, stage: Stage) -> None:
    conversation = FakeConversation(held.session)
    conversation.open()
    conversation.turn("a")
    await stage.begun.wait()
    conversation.turn("b", on_busy=ON_BUSY_REJECT)
    conversation.turn("a", "something else")
    conversation.turn("not a name")
    conversation.cancel("unknown")
    conversation.cancel("")
    conversation.frame(ConverseRequest(reply=session_pb2.Reply(input_id="x")))
    conversation.frame(ConverseRequest(ack=session_pb2.Ack(seq=1)))
    conversation.turn("b")
    conversation.turn("c")
    conversation.turn("d")
    await conversation.until(lambda: conversation.acked_frame == 12)
    refused = [
        (event.turn_rejected.frame, event.turn_rejected.reason, event.turn_id)
        for event in conversation.of("turn_rejected")
    ]
    assert refused == [
        (3, "TURN_IN_PROGRESS", "b"),
        (4, "TURN_ID_REUSED", "a"),
        (5, "INVALID_TURN_ID", "not a name"),
        (6, "TURN_NOT_FOUND", "unknown"),
        (7, "INVALID_TURN_ID", ""),
        (8, "INPUT_NOT_FOUND", ""),
        (12, "MAILBOX_FULL", "d"),
    ]
    stage.go.set()
    conversation.close()
    await conversation.served
    assert [event.turn_id for event in conversation.of("turn_completed")] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (ConverseRequest(open=session_pb2.Open(session_id="s")), SecondOpen),
        (ConverseRequest(), MalformedRequest),
        (MalformedRequest(), MalformedRequest),
        (
            ConverseRequest(
                turn=session_pb2.Turn(
                    turn_id="x",
                    input=session_pb2.Input(data={"n": float("nan")}),  # type: ignore[arg-type]
                )
            ),
            MalformedRequest,
        ),
    ],
    ids=["a second open", "an empty frame", "garbage", "NaN"],
)
async def test_what_is_no_proper_frame_ends_the_stream_but_no_turn(
    held: Actor, stage: Stage, frame: ConverseRequest | Exception, error: type[AgentringError]
) -> None:
    conversation = FakeConversation(held.session)
    conversation.open()
    conversation.turn("a")
    await stage.begun.wait()
    conversation.frame(frame)
    with pytest.raises(error):
        await conversation.served
    assert conversation.kinds == ["opened", "turn_accepted", "turn_started", "text_delta"]
    stage.go.set()
    assert await held.until_ended("a") == ["turn_completed"]


async def test_a_turn_without_an_id_is_named_after_its_frame(actor: Actor) -> None:
    for _ in range(2):
        conversation = FakeConversation(actor.session, {metadata.STREAM_ID: "stream"})
        conversation.open()
        conversation.turn(text="hi")
        conversation.close()
        await conversation.served
        assert {event.turn_id for event in conversation.events} - {""} == {"stream.2"}
    unnamed = [FakeConversation(actor.session) for _ in range(2)]
    for conversation in unnamed:
        conversation.open()
        conversation.turn(text="hi")
        conversation.close()
        await conversation.served
    assert actor.store.calls.count("accept_turn") == 3


@pytest.mark.parametrize("stream_id", ["x" * 128, "no name"])
async def test_a_stream_id_that_names_no_turn_is_answered(actor: Actor, stream_id: str) -> None:
    conversation = FakeConversation(actor.session, {metadata.STREAM_ID: stream_id})
    conversation.open()
    conversation.turn()
    conversation.close()
    await conversation.served
    assert [event.turn_rejected.reason for event in conversation.of("turn_rejected")] == [InvalidTurnId.reason]


async def test_a_client_that_hangs_up_leaves_its_turn_running_and_nothing_else(held: Actor, stage: Stage) -> None:
    conversation = FakeConversation(held.session)
    conversation.open()
    conversation.turn("a")
    await stage.begun.wait()
    await ended(conversation)
    assert held.session.log.readers == 0
    stage.go.set()
    assert await held.until_ended("a") == ["turn_completed"]


async def test_a_client_that_hangs_up_while_its_turn_is_being_accepted_has_a_turn(actor: Actor) -> None:
    go_on = actor.store.hold("accept_turn")
    conversation = FakeConversation(actor.session)
    conversation.open()
    conversation.turn("a")
    await actor.store.reached["accept_turn"].wait()
    await ended(conversation)
    go_on.set()
    await actor.until(lambda: "turn_completed a" in actor.kinds)


async def test_a_client_that_does_not_read_is_slowed_down_and_harms_nobody(actor: Actor) -> None:
    slow, quick = FakeConversation(actor.session), FakeConversation(actor.session)
    slow.reads.clear()
    for conversation in (slow, quick):
        conversation.open()
    for i in range(50):
        slow.cancel(f"unknown{i}")
    quick.turn("a", "x" * 5_000)
    quick.close()
    await slow.sending.wait()
    await quick.served
    assert quick.kinds[-1] == "turn_completed"
    assert slow.frames_taken < 5
    slow.reads.set()
    slow.close()
    await slow.served
    assert [event.turn_rejected.frame for event in slow.of("turn_rejected")] == list(range(2, 52))
    words = [event for event in slow.events if event.HasField("text_delta")]
    assert len(words) < 5  # five thousand pieces, merged while it did not read
    assert_gapless(slow.events, 0)


async def test_a_cancel_and_an_interrupt_are_told_on_the_stream(held: Actor, stage: Stage) -> None:
    conversation = FakeConversation(held.session)
    conversation.open()
    conversation.turn("a")
    await stage.begun.wait()
    conversation.turn("b")
    conversation.cancel("b")
    conversation.turn("c", on_busy=ON_BUSY_INTERRUPT)
    await conversation.until(lambda: conversation.acked_frame == 5)
    stage.go.set()
    conversation.close()
    await conversation.served
    cancelled = [(event.turn_id, event.turn_cancelled.reason) for event in conversation.of("turn_cancelled")]
    assert cancelled == [("b", "CLIENT"), ("a", "INTERRUPTED")]
    assert conversation.kinds[-1] == "turn_completed"


@pytest.mark.parametrize("ending", ["close", "drain", "drop"])
async def test_a_stream_ends_with_its_session_and_is_told_everything_before(
    held: Actor, stage: Stage, ending: str
) -> None:
    conversation = FakeConversation(held.session)
    conversation.open()
    conversation.turn("a")
    await stage.begun.wait()
    match ending:
        case "close":
            await held.session.close(0.0)
        case "drain":
            await held.drain(0.0)
        case "drop":
            held.drop()
    with pytest.raises({"close": SessionClosed, "drain": NodeDraining, "drop": NodeFenced}[ending]):
        await conversation.served
    assert conversation.kinds[-1] == ("text_delta" if ending == "drop" else "turn_cancelled")
    assert held.session.log.readers == 0
