"""Turns and tasks that are well formed but that the state of things forbids."""

import pytest
from grpc import aio

from agentring.errors import (
    AgentringError,
    MailboxFull,
    ResumeOffsetExpired,
    SessionClosed,
    TaskInputMismatch,
    TaskKeyActive,
    TurnIdReused,
    TurnInProgress,
)
from agentring.v1 import session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from agentring.v1.session_pb2 import ConverseRequest, Open
from harness.client import TIMEOUT_S, run_task, run_turn, turn
from harness.raw import SESSIONS, TASKS, assert_is, assert_refused, assert_stream_refused, exchange
from harness.streams import Conversation, Stream, assert_gapless, watch

TURN_METHODS = ("RunTurn", "SubmitTurn")


def _run(name: str, sent: session_pb2.Turn, agent: str = "") -> session_pb2.RunTurnRequest:
    return session_pb2.RunTurnRequest(session_id=name, agent=agent, turn=sent)


async def _describe(channel: aio.Channel, name: str) -> session_pb2.Session:
    request = session_pb2.GetSessionRequest(session_id=name)
    response = await session_pb2_grpc.SessionServiceStub(channel).GetSession(request, timeout=TIMEOUT_S)
    return response.session


async def _close(channel: aio.Channel, name: str) -> None:
    request = session_pb2.CloseSessionRequest(session_id=name)
    await session_pb2_grpc.SessionServiceStub(channel).CloseSession(request, timeout=TIMEOUT_S)


async def _holding(channel: aio.Channel, name: str) -> tuple[Conversation, str]:
    """A conversation whose turn runs until it is cancelled, and that turn's id."""
    conversation = Conversation(channel)
    await conversation.open(name, "holding")
    turn_id = await conversation.turn(turn())
    await conversation.until("text_delta", turn_id)
    return conversation, turn_id


@pytest.mark.parametrize("method", TURN_METHODS)
async def test_a_turn_id_with_another_input_is_refused(channel: aio.Channel, name: str, method: str) -> None:
    await run_turn(channel, name, turn("hi", turn_id="t"))
    for other in (turn("ho", turn_id="t"), turn("hi", turn_id="t", tokens=1), session_pb2.Turn(turn_id="t")):
        await assert_refused(exchange(channel, SESSIONS + method, _run(name, other)), TurnIdReused())
    assert (await run_turn(channel, name, turn("hi", turn_id="t"))).text == "hi"


async def test_a_turn_id_with_another_input_is_rejected_on_a_stream(channel: aio.Channel, name: str) -> None:
    conversation = Conversation(channel)
    await conversation.open(name)
    await conversation.until("turn_completed", await conversation.turn(turn("hi", turn_id="t")))
    await conversation.turn(turn("ho", turn_id="t"))
    rejected = await conversation.until("turn_rejected", "t")
    assert (rejected.turn_rejected.reason, rejected.turn_rejected.frame, rejected.seq) == ("TURN_ID_REUSED", 3, 0)
    await conversation.turn(turn("still here", turn_id="u"))
    await conversation.close()
    assert conversation.text == "histill here"


async def test_a_turn_id_with_another_input_is_refused_while_it_runs(channel: aio.Channel, name: str) -> None:
    conversation, turn_id = await _holding(channel, name)
    request = _run(name, turn("other", turn_id=turn_id))
    await assert_refused(exchange(channel, SESSIONS + "RunTurn", request), TurnIdReused())
    await conversation.cancel(turn_id)
    await conversation.close()


async def test_a_busy_session_refuses_what_must_not_wait(channel: aio.Channel, name: str) -> None:
    conversation, turn_id = await _holding(channel, name)
    for method in TURN_METHODS:
        request = _run(name, turn(on_busy=session_pb2.ON_BUSY_REJECT))
        await assert_refused(exchange(channel, SESSIONS + method, request), TurnInProgress(turn_id))
    rejected_id = await conversation.turn(turn(on_busy=session_pb2.ON_BUSY_REJECT))
    rejected = await conversation.until("turn_rejected", rejected_id)
    assert (rejected.turn_rejected.reason, rejected.turn_rejected.frame) == ("TURN_IN_PROGRESS", 3)
    await conversation.cancel(turn_id)
    await conversation.until("turn_cancelled", turn_id)
    last_id = await conversation.turn(turn(on_busy=session_pb2.ON_BUSY_REJECT))
    await conversation.until("text_delta", last_id)
    await conversation.cancel(last_id)
    await conversation.close()


async def test_a_full_mailbox_refuses_and_has_room_again(tight: aio.Channel, name: str) -> None:
    conversation, running_id = await _holding(tight, name)
    waiting_id = await conversation.turn(turn())
    accepted = await conversation.until("turn_accepted", waiting_id)
    assert accepted.turn_accepted.turns_ahead == 1
    for method in TURN_METHODS:
        await assert_refused(exchange(tight, SESSIONS + method, _run(name, turn())), MailboxFull())
    rejected_id = await conversation.turn(turn())
    rejected = await conversation.until("turn_rejected", rejected_id)
    assert (rejected.turn_rejected.reason, rejected.turn_rejected.frame) == ("MAILBOX_FULL", 4)
    await conversation.cancel(running_id)
    await conversation.until("text_delta", waiting_id)
    room_id = await conversation.turn(turn())
    await conversation.until("turn_accepted", room_id)
    await conversation.cancel(room_id)
    await conversation.cancel(waiting_id)
    await conversation.close()
    assert conversation.kinds.count("turn_cancelled") == 3


async def test_after_seq_beyond_the_head_is_out_of_range(channel: aio.Channel, name: str) -> None:
    received = await run_turn(channel, name, turn("one two three"))
    head_seq = received.events[-1].seq
    expected = ResumeOffsetExpired(oldest_seq=1, head_seq=head_seq)
    for after_seq in (head_seq + 1, 1 << 63):
        await _assert_cannot_resume(channel, name, after_seq, expected)
    stream = watch(channel, name, head_seq)
    await run_turn(channel, name, turn("more"))
    await stream.until_true(lambda: stream.text == "more", "what came since")
    stream.call.cancel()


async def test_after_seq_in_a_new_session_is_out_of_range(channel: aio.Channel, name: str) -> None:
    opening = ConverseRequest(open=Open(session_id=name, agent="echo", after_seq=5))
    expected = ResumeOffsetExpired(oldest_seq=1, head_seq=0)
    await assert_stream_refused(channel, [opening], expected)


async def test_after_seq_older_than_what_is_kept_is_out_of_range(tight: aio.Channel, name: str) -> None:
    await run_turn(tight, name, turn("before"))
    for _ in range(8):  # none of which tells more than memory holds: its beginning would be a gap in the store, too
        await run_turn(tight, name, turn("word " * 5_000))
    await run_turn(tight, name, turn("after"))  # a session's writes go one at a time: the oldest are dropped before it
    session = await _describe(tight, name)
    assert 1 < session.oldest_seq < session.head_seq
    expected = ResumeOffsetExpired(oldest_seq=session.oldest_seq, head_seq=session.head_seq)
    for after_seq in (1, session.oldest_seq - 2):
        await _assert_cannot_resume(tight, name, after_seq, expected)
    # From the oldest kept one on, and from the beginning with a gap, everything is there.
    for after_seq in (session.oldest_seq - 1, 0):
        stream = watch(tight, name, after_seq)
        await stream.until_seq(session.head_seq)
        assert assert_gapless(stream.events, after_seq) == session.head_seq
        assert (stream.kinds[0] == "gap") == (after_seq == 0)
        assert stream.events[-1].HasField("turn_completed")
        stream.call.cancel()


async def _assert_cannot_resume(channel: aio.Channel, name: str, after_seq: int, expected: AgentringError) -> None:
    request = session_pb2.WatchSessionRequest(session_id=name, after_seq=after_seq)
    await assert_refused(exchange(channel, SESSIONS + "WatchSession", request), expected)
    opening = ConverseRequest(open=Open(session_id=name, agent="", after_seq=after_seq))
    await assert_stream_refused(channel, [opening], expected)


async def test_a_replay_says_what_is_no_longer_kept(tight: aio.Channel, name: str) -> None:
    long = turn("word " * 40_000)
    whole = await run_turn(tight, name, long)
    repeated = await run_turn(tight, name, long)
    assert repeated.kinds[0] == "gap"
    assert repeated.events[0].first_seq == whole.events[0].seq
    assert assert_gapless(repeated.events, whole.events[0].seq - 1) == whole.events[-1].seq
    assert repeated.events[-1] == whole.events[-1]
    assert whole.text.endswith(repeated.text)


async def test_a_turn_whose_events_are_not_kept_still_replays_its_outcome(tight: aio.Channel, name: str) -> None:
    first = turn("before")
    whole = await run_turn(tight, name, first)
    await run_turn(tight, name, turn("word " * 40_000))
    repeated = await run_turn(tight, name, first)
    assert repeated.kinds[-1] == "turn_completed"
    assert repeated.events[-1] == whole.events[-1]


async def test_a_closed_session_takes_nothing_more(channel: aio.Channel, name: str) -> None:
    attached, running_id = await _holding(channel, name)
    waiting_id = await attached.turn(turn())
    await attached.until("turn_accepted", waiting_id)
    watching = watch(channel, name)
    await watching.until_seq(attached.through_seq)
    await _close(channel, name)
    for stream in (attached, watching):
        await _assert_ended_by_close(stream)
        ends = [(event.turn_id, event.turn_cancelled.reason) for event in stream.events if _is_cancelled(event)]
        assert ends == [(waiting_id, "SESSION_CLOSED"), (running_id, "SESSION_CLOSED")]
    for method in TURN_METHODS:
        await assert_refused(exchange(channel, SESSIONS + method, _run(name, turn(), "holding")), SessionClosed())
    opening = ConverseRequest(open=Open(session_id=name, agent="holding"))
    await assert_stream_refused(channel, [opening], SessionClosed())
    session = await _describe(channel, name)
    assert (session.closed, session.running_turn_id, session.waiting_turns) == (True, "", 0)
    await _close(channel, name)


def _is_cancelled(event: session_pb2.Event) -> bool:
    return event.HasField("turn_cancelled")


async def _assert_ended_by_close(stream: Stream) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await stream.until_end()
    assert_is(raised.value, SessionClosed())


async def test_a_closed_sessions_events_can_still_be_watched(channel: aio.Channel, name: str) -> None:
    received = await run_turn(channel, name, turn("hi"))
    await _close(channel, name)
    stream = watch(channel, name)
    await _assert_ended_by_close(stream)
    assert stream.text == "hi"
    assert stream.through_seq == received.events[-1].seq


async def test_a_task_key_with_another_agent_or_input_is_refused(channel: aio.Channel, name: str) -> None:
    await run_task(channel, name, text="hi")
    for text, agent in (("ho", "echo"), ("hi", "assistant"), ("hi", "")):
        request = task_pb2.RunTaskRequest(task_key=name, agent=agent, input=session_pb2.Input(text=text))
        await assert_refused(exchange(channel, TASKS + "RunTask", request), TaskInputMismatch())
    assert (await run_task(channel, name, text="hi")).disposition == task_pb2.DISPOSITION_REPLAYED


async def test_a_task_under_way_is_refused_to_who_will_not_join(channel: aio.Channel, name: str) -> None:
    tasks = task_pb2_grpc.TaskServiceStub(channel)
    request = task_pb2.RunTaskRequest(task_key=name, agent="holding")
    running = Stream(tasks.RunTask(request, timeout=TIMEOUT_S))
    await running.until("text_delta")
    assert running.responses[0].disposition == task_pb2.DISPOSITION_STARTED
    joined = Stream(tasks.RunTask(request, timeout=TIMEOUT_S))
    await joined.until("text_delta")
    assert joined.responses[0].disposition == task_pb2.DISPOSITION_JOINED
    request.on_duplicate = task_pb2.ON_DUPLICATE_REJECT
    await assert_refused(exchange(channel, TASKS + "RunTask", request), TaskKeyActive())
    cancel = task_pb2.CancelTaskRequest(task_key=name)
    assert (await tasks.CancelTask(cancel, timeout=TIMEOUT_S)).state == task_pb2.TASK_STATE_CANCELLED
    for stream in (running, joined):
        await stream.until_end()
        assert stream.kinds == ["turn_started", "text_delta", "turn_cancelled"]
        assert stream.events[-1].turn_cancelled.reason == "CLIENT"
    # What has ended is replayed to everyone, REJECT or not.
    late = Stream(tasks.RunTask(request, timeout=TIMEOUT_S))
    await late.until_end()
    assert late.responses[0].disposition == task_pb2.DISPOSITION_REPLAYED
    assert late.events == running.events


async def test_after_seq_of_a_task_out_of_range(channel: aio.Channel, name: str) -> None:
    received = await run_task(channel, name, text="hi")
    request = task_pb2.WatchTaskRequest(task_key=name, after_seq=received.events[-1].seq + 1)
    expected = ResumeOffsetExpired(oldest_seq=1, head_seq=received.events[-1].seq)
    await assert_refused(exchange(channel, TASKS + "WatchTask", request), expected)
