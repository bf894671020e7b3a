"""JSON between agents and the wire."""

import json
import math
from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from agent_node.json_values import NotJson, from_struct, to_struct, to_value
from agentring.errors import MalformedRequest
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from agentring.v1 import session_pb2
from harness.agents import nested

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)


def as_doubles(data: Any) -> Any:
    """Whole numbers are int; nothing else is another value than it was."""
    match data:
        case dict():
            return {key: as_doubles(value) for key, value in data.items()}
        case list():
            return [as_doubles(value) for value in data]
        case float() if data.is_integer() and abs(data) <= 2**53 and str(data) != "-0.0":
            return int(data)
    return data


@given(st.dictionaries(texts, values, max_size=4))
def test_what_json_can_say_comes_back_as_it_was(data: dict[str, Any]) -> None:
    struct = struct_pb2.Struct.FromString(to_struct(data).SerializeToString())
    assert json.dumps(from_struct(struct), sort_keys=True) == json.dumps(as_doubles(data), sort_keys=True)


@pytest.mark.parametrize("number", [0, 1, -1, 2**53, -(2**53)])
def test_whole_numbers_come_back_whole(number: int) -> None:
    (back,) = from_struct(to_struct({"n": number})).values()
    assert (back, type(back)) == (number, int)


@pytest.mark.parametrize("value", [None, True, 1.5, "text", [1, [2]], {"a": {"b": None}}], ids=repr)
def test_a_value_may_be_any_json(value: Any) -> None:
    assert from_struct(struct_pb2.Struct(fields={"v": to_value(value)})) == {"v": value}


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        object(),
        b"x",
        {1},
        "\ud800",
        10**400,
        2**53 + 1,
        {1: 2},
        {None: 1},
        {"\udfff": 1},
        nested(33),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(NotJson):
        to_struct({"k": value})
    with pytest.raises(NotJson):
        to_value(value)


@pytest.mark.parametrize("data", [None, 1, "text", [1], [("a", 1, 2)]], ids=repr)
def test_what_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(NotJson):
        to_struct(data)


def test_what_goes_out_can_be_read_by_everybody() -> None:
    """Nested as deep as it may be, and as large as it may be."""
    for depth in range(1, 100):
        try:
            struct = to_struct(nested(depth))
        except NotJson:
            assert depth > 30
            break
        event = session_pb2.Event(turn_completed=session_pb2.TurnCompleted(result=struct))
        sent = session_pb2.ConverseResponse(events=[event]).SerializeToString()
        assert session_pb2.ConverseResponse.FromString(sent).events[0] == event
    else:
        raise AssertionError("no depth was refused")
    assert to_struct({"k": "x" * (MAX_MESSAGE_BYTES - 100)})
    with pytest.raises(NotJson):
        to_struct({"k": "x" * MAX_MESSAGE_BYTES})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_clients_send_that_is_no_json_is_refused(number: float) -> None:
    struct = struct_pb2.Struct()
    struct["a"] = {"b": [number]}
    with pytest.raises(MalformedRequest):
        from_struct(struct)


def test_a_value_that_was_never_set_is_nothing() -> None:
    assert from_struct(struct_pb2.Struct(fields={"v": struct_pb2.Value()})) == {"v": None}
