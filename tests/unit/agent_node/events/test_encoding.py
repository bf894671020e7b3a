"""The bytes are those that protobuf makes of the same fields."""

from hypothesis import given
from hypothesis import strategies as st

from agent_node.events import encoding
from agentring.v1 import session_pb2, store_pb2, task_pb2

numbers = st.integers(0, 2**64 - 1)
texts = st.text(max_size=300)
events = st.builds(lambda text, seq: session_pb2.Event(turn_id=text, seq=seq), texts, numbers)


@given(numbers, numbers, numbers, texts, st.integers(0, 2**32 - 1), st.integers(0, 2**62), numbers, texts)
def test_an_event_with_text(
    seq: int, first_seq: int, epoch: int, turn_id: str, attempt: int, time_ns: int, offset: int, text: str
) -> None:
    event = session_pb2.Event(epoch=epoch, turn_id=turn_id, attempt=attempt)
    event.seq = seq
    if first_seq:
        event.first_seq = first_seq
    event.time.FromNanoseconds(time_ns)
    event.text_delta.offset, event.text_delta.text = offset, text
    if not seq:
        return  # numbers begin at 1
    body = encoding.text_delta(offset, bytearray(text.encode()))
    assert encoding.event(seq, first_seq, epoch, turn_id, attempt, time_ns, body) == event.SerializeToString()


@given(texts)
def test_the_first_events_of_a_turn(node_id: str) -> None:
    started = session_pb2.Event(turn_started=session_pb2.TurnStarted(node_id=node_id))
    assert encoding.turn_started(node_id) == started.SerializeToString()
    accepted = session_pb2.Event(turn_accepted=session_pb2.TurnAccepted())
    assert accepted.SerializeToString() == encoding.turn_accepted(b"")


@given(numbers, texts, texts)
def test_an_acceptance_and_its_input(turns_ahead: int, text: str, reason: str) -> None:
    accepted = session_pb2.TurnAccepted(turns_ahead=turns_ahead % (1 << 32))
    raw, given_input = accepted.SerializeToString(), session_pb2.Input(text=text)
    accepted.input.CopyFrom(given_input)
    assert encoding.with_input(raw, given_input.SerializeToString()) == accepted.SerializeToString()
    accepted.ClearField("input")
    accepted.input_lost = reason + "!"
    assert encoding.without_input(raw, reason + "!") == accepted.SerializeToString()
    event = session_pb2.Event(turn_accepted=accepted)
    assert encoding.turn_accepted(accepted.SerializeToString()) == event.SerializeToString()


@given(numbers, numbers, st.lists(events, max_size=3))
def test_a_response_of_a_stream(through_seq: int, acked_frame: int, sent: list[session_pb2.Event]) -> None:
    raw = [event.SerializeToString() for event in sent]
    response = session_pb2.RunTurnResponse(through_seq=through_seq, acked_frame=acked_frame, events=sent)
    assert encoding.response(through_seq, acked_frame, raw) == response.SerializeToString()
    more = task_pb2.RunTaskResponse(disposition=task_pb2.DISPOSITION_JOINED).SerializeToString()
    first = task_pb2.RunTaskResponse.FromString(response.SerializeToString())
    first.disposition = task_pb2.DISPOSITION_JOINED
    assert encoding.response(through_seq, acked_frame, raw, more) == first.SerializeToString()


@given(st.lists(st.tuples(events, st.lists(st.integers(0, 2**32 - 1), max_size=3)), max_size=3))
def test_a_row_of_the_store(rows: list[tuple[session_pb2.Event, list[int]]]) -> None:
    stored = store_pb2.StoredEvents()
    for event, pieces in rows:
        stored.events.add(event=event, piece_bytes=pieces)
    raw = b"".join(encoding.stored_event(event.SerializeToString(), pieces) for event, pieces in rows)
    assert raw == stored.SerializeToString()
