"""Events of the wire as a client's code sees them."""

from google.protobuf.struct_pb2 import Value

from agentring.client.events import CustomEvent, read_event
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
