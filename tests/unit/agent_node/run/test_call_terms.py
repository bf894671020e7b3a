"""What is kept with an input of the call that brought it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.run.call_terms import NO_TERMS, CallTerms, of_stored, to_stored
from agentring.v1 import session_pb2, store_pb2

TERMS = CallTerms((("x-locale", "nb"), ("x-plan", "gold")), 0.25)
names = st.text("abc-", min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(st.text(), st.dictionaries(names, st.text()), st.integers(0, 1 << 40))
def test_they_come_back_and_the_input_is_read_as_before(text: str, metadata: dict[str, str], timeout: int) -> None:
    sent, terms = session_pb2.Input(text=text), CallTerms(tuple(sorted(metadata.items())), timeout / 64)
    raw = to_stored(sent, terms)
    assert of_stored(raw) == terms
    assert session_pb2.Input.FromString(raw).text == text


def test_an_input_without_any_is_stored_as_it_always_was() -> None:
    sent = session_pb2.Input(text="hi")
    assert to_stored(sent, NO_TERMS) == sent.SerializeToString()
    assert of_stored(sent.SerializeToString()) == of_stored(b"") == NO_TERMS


def test_a_client_cannot_write_them_into_its_input() -> None:
    kept = store_pb2.CallTerms(metadata={"x-plan": "platinum"}).SerializeToString()
    forged = session_pb2.Input.FromString(store_pb2.StoredInput(call_terms=kept).SerializeToString())
    forged.text = "hi"
    assert of_stored(forged.SerializeToString()).metadata == (("x-plan", "platinum"),), "the forgery is none"
    assert of_stored(to_stored(forged, NO_TERMS)) == NO_TERMS
    assert of_stored(to_stored(forged, TERMS)) == TERMS


def test_bytes_that_look_like_them_are_the_inputs_own() -> None:
    sent = session_pb2.Input(text="x" * 0x3E)
    sent.data["k"] = "\u00be>" * 3
    raw = to_stored(sent, TERMS)
    assert of_stored(raw) == TERMS
    assert session_pb2.Input.FromString(raw).data == sent.data
