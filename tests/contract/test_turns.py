"""Turns that meet other turns: waiting, interrupting, cancelling; and when a stream ends."""

import asyncio

import pytest
from grpc import aio

from agentring.v1 import session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from harness.client import TIMEOUT_S, run_task, run_turn, turn
from harness.streams import Conversation, assert_gapless, watch


async def _cancel(channel: aio.Channel, name: str, turn_id: str) -> session_pb2.TurnState.ValueType:
    request = session_pb2.CancelTurnRequest(session_id=name, turn_id=turn_id)
    response = await session_pb2_grpc.SessionServiceStub(channel).CancelTurn(request, timeout=TIMEOUT_S)
    return response.state


def _kinds(conversation: Conversation, turn_id: str) -> list[str]:
    """What became of a turn; adjacent words count once."""
    kinds = [str(event.WhichOneof("body")) for event in conversation.events if event.turn_id == turn_id]
    return [kind for place, kind in enumerate(kinds) if kinds[place - 1 : place] != [kind]]


COMPLETED = ["turn_accepted", "turn_started", "text_delta", "turn_completed"]
CANCELLED = ["turn_accepted", "turn_started", "text_delta", "turn_cancelled"]
NEVER_STARTED = ["turn_accepted", "turn_cancelled"]


async def test_closing_the_sending_side_ends_the_stream_after_its_last_turn(channel: aio.Channel, name: str) -> None:
    conversation = Conversation(channel)
    await conversation.open(name)
    ids = [await conversation.turn(turn(tokens=5, rate=100)) for _ in range(3)]
    await conversation.close()
    assert [_kinds(conversation, each) for each in ids] == [COMPLETED] * 3
    assert conversation.events[-1].turn_id == ids[-1]
    assert_gapless(conversation.events, 0)


async def test_closing_the_sending_side_without_a_turn_ends_the_stream(channel: aio.Channel, name: str) -> None:
    conversation = Conversation(channel)
    await conversation.open(name)
    await conversation.close()
    assert conversation.kinds == ["opened"]


async def test_a_closing_stream_does_not_wait_for_others_turns(channel: aio.Channel, name: str) -> None:
    other = Conversation(channel)
    await other.open(name, "holding")
    turn_id = await other.turn(turn())
    await other.until("text_delta", turn_id)
    conversation = Conversation(channel)
    await conversation.open(name, "holding")
    await conversation.close()
    assert conversation.kinds == ["opened"]
    await other.cancel(turn_id)
    await other.close()


@pytest.mark.parametrize("on_busy", [session_pb2.ON_BUSY_UNSPECIFIED, session_pb2.ON_BUSY_ENQUEUE])
async def test_turns_wait_for_each_other_in_their_order(channel: aio.Channel, name: str, on_busy: int) -> None:
    conversation = Conversation(channel)
    await conversation.open(name)
    first = await conversation.turn(turn(tokens=1000, rate=1, on_busy=on_busy))
    ids = [first, *[await conversation.turn(turn(tokens=5, rate=50, on_busy=on_busy)) for _ in range(3)]]
    await conversation.until("turn_accepted", ids[-1])
    await conversation.cancel(first)
    await conversation.close()
    ahead = {event.turn_id: event.turn_accepted.turns_ahead for event in conversation.events if _is_accepted(event)}
    assert [ahead[each] for each in ids] == [0, 1, 2, 3]
    order = [event.turn_id for event in conversation.events if event.HasField("turn_started")]
    assert order == ids
    ends = [
        (event.turn_id, str(event.WhichOneof("body")))
        for event in conversation.events
        if event.WhichOneof("body") in ("turn_started", "turn_cancelled", "turn_completed")
    ]
    assert ends[:2] == [(first, "turn_started"), (first, "turn_cancelled")]
    assert ends[2:] == [(each, kind) for each in ids[1:] for kind in ("turn_started", "turn_completed")]


def _is_accepted(event: session_pb2.Event) -> bool:
    return event.HasField("turn_accepted")


@pytest.mark.parametrize("method", ["Converse", "RunTurn"])
async def test_an_interrupting_turn_cancels_whatever_runs_or_waits(
    channel: aio.Channel, name: str, method: str
) -> None:
    conversation = Conversation(channel)
    await conversation.open(name, "holding")
    running, *waiting = [await conversation.turn(turn()) for _ in range(3)]
    await conversation.until("text_delta", running)
    await conversation.until("turn_accepted", waiting[-1])
    urgent = turn("urgent", on_busy=session_pb2.ON_BUSY_INTERRUPT)
    if method == "Converse":
        await conversation.turn(urgent)
    else:
        request = session_pb2.SubmitTurnRequest(session_id=name, turn=urgent)
        await session_pb2_grpc.SessionServiceStub(channel).SubmitTurn(request, timeout=TIMEOUT_S)
    await conversation.until("text_delta", urgent.turn_id)
    assert await _cancel(channel, name, urgent.turn_id) == session_pb2.TURN_STATE_CANCELLED
    await conversation.until("turn_cancelled", urgent.turn_id)
    await conversation.close()
    assert _kinds(conversation, running) == CANCELLED
    assert [_kinds(conversation, each) for each in waiting] == [NEVER_STARTED] * 2
    reasons = {event.turn_id: event.turn_cancelled.reason for event in conversation.events}
    assert [reasons[each] for each in (running, *waiting)] == ["INTERRUPTED"] * 3
    assert reasons[urgent.turn_id] == "CLIENT"
    accepted = next(event for event in conversation.events if event.turn_id == urgent.turn_id)
    assert accepted.turn_accepted.turns_ahead == 0
    assert_gapless(conversation.events, 0)


async def test_an_interrupting_turn_in_an_idle_session_simply_runs(channel: aio.Channel, name: str) -> None:
    received = await run_turn(channel, name, turn("hi", on_busy=session_pb2.ON_BUSY_INTERRUPT))
    assert received.text == "hi"


@pytest.mark.parametrize("by", ["frame", "call"])
async def test_running_and_waiting_turns_can_be_cancelled(channel: aio.Channel, name: str, by: str) -> None:
    conversation = Conversation(channel)
    await conversation.open(name, "holding")
    running, waiting, last = [await conversation.turn(turn()) for _ in range(3)]
    await conversation.until("text_delta", running)
    await conversation.until("turn_accepted", last)
    for turn_id in (waiting, running, last):
        if turn_id == last:
            await conversation.until("text_delta", last)
        if by == "frame":
            await conversation.cancel(turn_id)
        else:
            assert await _cancel(channel, name, turn_id) == session_pb2.TURN_STATE_CANCELLED
        cancelled = await conversation.until("turn_cancelled", turn_id)
        assert cancelled.turn_cancelled.reason == "CLIENT"
    await conversation.close()
    kinds = [_kinds(conversation, each) for each in (running, waiting, last)]
    assert kinds == [CANCELLED, NEVER_STARTED, CANCELLED]


async def test_cancelling_what_has_ended_says_how_it_ended(channel: aio.Channel, name: str) -> None:
    done, failed = turn("count"), turn("raise")
    await run_turn(channel, name, done, agent="faulty")
    await run_turn(channel, name, failed, agent="faulty")
    assert await _cancel(channel, name, done.turn_id) == session_pb2.TURN_STATE_COMPLETED
    assert await _cancel(channel, name, failed.turn_id) == session_pb2.TURN_STATE_FAILED
    assert (await run_turn(channel, name, done, agent="faulty")).kinds[-1] == "turn_completed"


async def test_a_cancelled_turn_leaves_the_session_as_it_was(channel: aio.Channel, name: str) -> None:
    sent = turn(tokens=1000, rate=1)
    conversation = Conversation(channel)
    await conversation.open(name)
    await conversation.turn(sent)
    await conversation.until("text_delta")
    states = await asyncio.gather(*(_cancel(channel, name, sent.turn_id) for _ in range(3)))
    assert set(states) == {session_pb2.TURN_STATE_CANCELLED}
    assert (await run_turn(channel, name, turn("hi"))).text == "hi"
    request = session_pb2.GetSessionRequest(session_id=name)
    session = (await session_pb2_grpc.SessionServiceStub(channel).GetSession(request, timeout=TIMEOUT_S)).session
    assert (session.turns_completed, session.running_turn_id, session.waiting_turns) == (1, "", 0)
    assert (session.session_id, session.agent, session.closed, session.oldest_seq) == (name, "echo", False, 1)
    await conversation.close()
    assert conversation.kinds.count("turn_cancelled") == 1
    assert session.head_seq == conversation.through_seq


async def test_a_session_says_what_runs_and_what_waits(channel: aio.Channel, name: str) -> None:
    conversation = Conversation(channel)
    opened = await conversation.open(name, "holding")
    running, waiting = [await conversation.turn(turn()) for _ in range(2)]
    await conversation.until("text_delta", running)
    await conversation.until("turn_accepted", waiting)
    request = session_pb2.GetSessionRequest(session_id=name)
    session = (await session_pb2_grpc.SessionServiceStub(channel).GetSession(request, timeout=TIMEOUT_S)).session
    assert (session.running_turn_id, session.waiting_turns, session.node_id) == (running, 1, opened.node_id)
    assert session.head_seq == conversation.through_seq
    for turn_id in (waiting, running):
        await conversation.cancel(turn_id)
    await conversation.close()


async def test_a_watched_session_is_told_of_every_turn(channel: aio.Channel, name: str) -> None:
    await run_turn(channel, name, turn("first"))
    live, whole = watch(channel, name, None), watch(channel, name, 0)
    await live.call.initial_metadata()
    last = turn("second")
    await run_turn(channel, name, last)
    for stream in (live, whole):
        await stream.until("turn_completed", last.turn_id)
        stream.call.cancel()
    assert (live.text, whole.text) == ("second", "firstsecond")
    assert assert_gapless(whole.events, 0) == whole.through_seq == live.through_seq


async def test_cancelling_a_task_that_has_ended_says_how_it_ended(channel: aio.Channel, name: str) -> None:
    await run_task(channel, name, text="hi")
    tasks = task_pb2_grpc.TaskServiceStub(channel)
    cancelled = await tasks.CancelTask(task_pb2.CancelTaskRequest(task_key=name), timeout=TIMEOUT_S)
    assert cancelled.state == task_pb2.TASK_STATE_COMPLETED
    task = (await tasks.GetTask(task_pb2.GetTaskRequest(task_key=name), timeout=TIMEOUT_S)).task
    assert (task.task_key, task.agent, task.state, task.text) == (name, "echo", task_pb2.TASK_STATE_COMPLETED, "hi")
    assert dict(task.result) == {"tokens": 1}
