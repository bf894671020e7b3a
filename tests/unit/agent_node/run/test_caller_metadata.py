"""What is kept with an input of the call that brought it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.run.caller_metadata import of_stored, to_stored
from agentring.v1 import session_pb2, store_pb2

METADATA = (("x-locale", "nb"), ("x-plan", "gold"))
names = st.text("abc-", min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(st.text(), st.dictionaries(names, st.text()))
def test_it_comes_back_and_the_input_is_read_as_before(text: str, metadata: dict[str, str]) -> None:
    sent = session_pb2.Input(text=text)
    raw = to_stored(sent, tuple(sorted(metadata.items())))
    assert of_stored(raw) == tuple(sorted(metadata.items()))
    assert session_pb2.Input.FromString(raw).text == text


def test_an_input_without_it_is_stored_as_it_always_was() -> None:
    sent = session_pb2.Input(text="hi")
    assert to_stored(sent, ()) == sent.SerializeToString()
    assert of_stored(sent.SerializeToString()) == of_stored(b"") == ()


def test_a_client_cannot_write_it_into_its_input() -> None:
    kept = store_pb2.CallerMetadata(metadata={"x-plan": "platinum"}).SerializeToString()
    forged = session_pb2.Input.FromString(store_pb2.StoredInput(caller_metadata=kept).SerializeToString())
    forged.text = "hi"
    assert of_stored(forged.SerializeToString()) == (("x-plan", "platinum"),), "the forgery is none"
    assert of_stored(to_stored(forged, ())) == ()
    assert of_stored(to_stored(forged, METADATA)) == METADATA


def test_bytes_that_look_like_it_are_the_inputs_own() -> None:
    sent = session_pb2.Input(text="x" * 0x3E)
    sent.data["k"] = "\u00be>" * 3
    raw = to_stored(sent, METADATA)
    assert of_stored(raw) == METADATA
    assert session_pb2.Input.FromString(raw).data == sent.data
