"""A turn's acceptance: with its input for whoever did not send it."""

import pytest

from agent_node.events.accepted import Accepted
from agent_node.events.attachment import Attachment
from agent_node.events.log import EventLog
from agent_node.events.numbers import NumberRange
from agent_node.run.event_rows import event_rows
from agent_node.store.readable import to_stored_events
from agentring.ids import Epoch
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from agentring.v1 import session_pb2

INPUT = session_pb2.Input(text="my name is Ada")


def a_log(turn_input: session_pb2.Input = INPUT, *, log_seq: int = 0) -> EventLog:
    log = EventLog(Epoch(7), 8 << 20, NumberRange(log_seq, 1 << 40, lambda: None), head_seq=0)
    accepted = session_pb2.TurnAccepted(turns_ahead=2)
    log.append_accepted("a", accepted.SerializeToString(), turn_input.SerializeToString())
    return log


def accepted_of(log: EventLog) -> Accepted:
    (found,) = log.entries(0)
    assert isinstance(found, Accepted)
    return found


async def sent(attachment: Attachment) -> session_pb2.Event:
    events = await attachment.next()
    assert events is not None
    (event,) = events
    return event.event


async def test_who_joins_is_sent_the_input_and_who_sent_it_is_not() -> None:
    log = a_log()
    with (
        Attachment(log, 0, heartbeat_s=9) as viewer,
        Attachment(log, 0, heartbeat_s=9) as sender,
        Attachment(log, 0, heartbeat_s=9, turn_id="a") as one_turn,
    ):
        sender.sends("a")
        seen, own, alone = await sent(viewer), await sent(sender), await sent(one_turn)
    assert seen.turn_accepted == session_pb2.TurnAccepted(turns_ahead=2, input=INPUT)
    assert own.turn_accepted == alone.turn_accepted == session_pb2.TurnAccepted(turns_ahead=2)
    assert seen.seq == own.seq == alone.seq == 1


async def test_a_turn_that_was_refused_is_not_its_senders_own() -> None:
    log = a_log()
    with Attachment(log, 0, heartbeat_s=9) as refused:
        refused.sends("a")
        refused.sends_no_more("a")
        assert (await sent(refused)).turn_accepted.input == INPUT


def test_the_store_has_the_input() -> None:
    (row,) = event_rows(a_log().entries(0), 0)
    (stored,) = to_stored_events(row.events)
    assert stored.event.turn_accepted == session_pb2.TurnAccepted(turns_ahead=2, input=INPUT)


@pytest.mark.parametrize("after_seq", [0, 3, 8])
def test_an_acceptance_that_covers_numbers_of_an_earlier_owner_is_cut_with_its_input(after_seq: int) -> None:
    whole = accepted_of(a_log(log_seq=8)).after(after_seq).whole()
    assert (whole.first_seq, whole.seq) == (after_seq + 1, 9)
    assert whole.event.turn_accepted == session_pb2.TurnAccepted(turns_ahead=2, input=INPUT)
    assert (whole.event.first_seq or 9) == after_seq + 1


@pytest.mark.parametrize(("text_bytes", "lost"), [(MAX_MESSAGE_BYTES - 400, ""), (MAX_MESSAGE_BYTES - 30, "TOO_LARGE")])
def test_an_input_that_is_more_than_an_event_holds_is_left_out(text_bytes: int, lost: str) -> None:
    accepted = accepted_of(a_log(session_pb2.Input(text="x" * text_bytes))).whole().event.turn_accepted
    assert accepted.input_lost == lost
    assert accepted.HasField("input") is not bool(lost)
    response = session_pb2.ConverseResponse(
        through_seq=1, acked_frame=1, events=[session_pb2.Event(turn_accepted=accepted)]
    )
    assert response.ByteSize() <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize(("levels", "lost"), [(20, ""), (48, "UNREADABLE")])
def test_an_input_that_is_nested_too_deeply_there_is_left_out(levels: int, lost: str) -> None:
    turn_input = session_pb2.Input()
    value = turn_input.data.fields["x" * 200]
    for _ in range(levels):
        value = value.list_value.values.add()
    value.bool_value = True
    accepted = accepted_of(a_log(turn_input)).whole().event.turn_accepted
    assert accepted.input_lost == lost
    assert (accepted.input == turn_input) is not bool(lost)


def test_it_counts_its_input_in_the_logs_memory_and_in_what_one_read_returns() -> None:
    log = a_log(session_pb2.Input(text="x" * 20_000))
    log.append_body("a", 1, b"")
    assert log.size_bytes > 20_000
    _, events = log.read(0)
    assert [event.seq for event in events] == [1]
