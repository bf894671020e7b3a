"""Events of the wire as a client's code sees them."""

from datetime import UTC, datetime

from google.protobuf.struct_pb2 import Value

from agentring.client.event_reading import read_event
from agentring.client.events import CustomEvent, StepBegun, StepEnded
from agentring.v1 import session_pb2


def test_an_agents_own_event_has_its_name_and_its_data() -> None:
    data = Value()
    data.struct_value.update({"done": 3, "of": [1.5, None]})
    raw = session_pb2.Event(seq=4, turn_id="t", custom_event=session_pb2.CustomEvent(name="progress", data=data))
    event = read_event(raw)
    assert isinstance(event, CustomEvent)
    assert (event.seq, event.turn_id, event.name) == (4, "t", "progress")
    assert event.data == {"done": 3, "of": [1.5, None]}


def test_one_without_data_has_none() -> None:
    event = read_event(session_pb2.Event(custom_event=session_pb2.CustomEvent(name="done")))
    assert isinstance(event, CustomEvent)
    assert event.data is None


def test_a_step_has_its_beginning_and_its_end() -> None:
    raw = session_pb2.Event(
        attempt=2, step_begun=session_pb2.StepBegun(name="model", step_id="0a", parent_id="0b", replayed_steps=3)
    )
    raw.step_begun.begin_time.FromSeconds(60)
    begun = read_event(raw)
    assert isinstance(begun, StepBegun)
    assert (begun.name, begun.step_id, begun.parent_id, begun.replayed_steps, begun.attempt) == (
        "model",
        "0a",
        "0b",
        3,
        2,
    )
    assert begun.begun == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    ended = session_pb2.StepEnded(name="model", step_id="0a", outcome=session_pb2.STEP_OUTCOME_UNKNOWN)
    ended.duration.FromMilliseconds(1_500)
    event = read_event(session_pb2.Event(step_ended=ended))
    assert isinstance(event, StepEnded)
    assert (event.name, event.parent_id, event.duration_s, event.outcome) == ("model", "", 1.5, "UNKNOWN")


def test_a_steps_outcome_may_be_younger_than_this_code() -> None:
    for number in (0, 77):
        raw = session_pb2.Event(step_ended=session_pb2.StepEnded())
        raw.step_ended.MergeFromString(b"\x28" + bytes([number]))
        event = read_event(session_pb2.Event.FromString(raw.SerializeToString()))
        assert isinstance(event, StepEnded)
        assert event.outcome == ""
