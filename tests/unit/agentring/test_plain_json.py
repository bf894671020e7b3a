"""JSON that is carried as it is, or refused with the place and the reason."""

import json
import math
from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from agentring.plain_json import NotJson, from_struct, from_value, parse, to_plain, to_struct, to_text, to_value
from agentring.v1 import once_pb2, session_pb2, store_pb2, task_pb2
from harness.hostile import HOSTILE, Endless, Lying

texts = st.text(max_size=5)  # halves of characters too
numbers = st.one_of(st.integers(), st.floats())
strange = st.sampled_from(
    [object(), b"x", {1}, 1 + 2j, Ellipsis, *(each for name, each in HOSTILE.items() if name != "posing")]
)
keys = st.one_of(texts, st.integers(0, 2), st.none(), st.booleans())
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, strange),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3), st.tuples(inner, inner)
    ),
    max_leaves=8,
)


def made(make: Callable[[Any], Any], value: Any) -> tuple[Any, str]:
    """What it was made into; or what was wrong."""
    try:
        return make(value), ""
    except NotJson as refused:
        return None, str(refused)


@given(anything)
def test_whatever_it_is_given_it_carries_it_as_it_is_or_refuses_it(value: Any) -> None:
    text, wrong = made(to_text, value)
    if wrong:
        assert wrong.startswith("$")
        return
    assert json.dumps(json.loads(text)) == json.dumps(value)  # what Python's own encoder makes of it, to the letter
    found, wrong = made(to_value, value)
    if wrong:
        assert "2**53" in wrong
        return
    assert same(from_value(struct_pb2.Value.FromString(found.SerializeToString())), json.loads(text))


def same(one: Any, other: Any) -> bool:
    """As JSON, where 1 and 1.0 are one number, but not true, and -0.0 is none of the others."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other) and (one != 0 or math.copysign(1, one) == math.copysign(1, other))


class Nested:
    """Objects and lists in each other."""

    def __init__(self, kinds: str, leaf: Any) -> None:
        self.value = leaf
        for kind in reversed(kinds):
            self.value = {"a": self.value} if kind == "o" else [self.value]


ENVELOPES: dict[str, tuple[type[Message], Callable[[Any, struct_pb2.Value], None]]] = {
    "Converse, result": (
        session_pb2.ConverseResponse,
        lambda m, v: m.events.add().turn_completed.result.CopyFrom(v.struct_value),
    ),
    "Converse, arguments": (
        session_pb2.ConverseResponse,
        lambda m, v: m.events.add().tool_call.arguments.CopyFrom(v.struct_value),
    ),
    "Converse, tool's result": (
        session_pb2.ConverseResponse,
        lambda m, v: m.events.add().tool_result.result.CopyFrom(v),
    ),
    "Converse, schema": (
        session_pb2.ConverseResponse,
        lambda m, v: m.events.add().input_required.schema.CopyFrom(v.struct_value),
    ),
    "RunTask": (
        task_pb2.RunTaskResponse,
        lambda m, v: m.events.add().turn_completed.result.CopyFrom(v.struct_value),
    ),
    "GetTask": (task_pb2.GetTaskResponse, lambda m, v: m.task.result.CopyFrom(v.struct_value)),
    "GetRun": (once_pb2.GetRunResponse, lambda m, v: m.run.result.CopyFrom(v)),
    "the store": (store_pb2.StoredEvents, lambda m, v: m.events.add().event.tool_result.result.CopyFrom(v)),
    "a turn": (session_pb2.ConverseRequest, lambda m, v: m.turn.input.data.CopyFrom(v.struct_value)),
    "an answer": (session_pb2.ConverseRequest, lambda m, v: m.reply.input.data.CopyFrom(v.struct_value)),
    "a task": (task_pb2.RunTaskRequest, lambda m, v: m.input.data.CopyFrom(v.struct_value)),
}


@given(st.text("ol", min_size=20, max_size=60), st.sampled_from([1, {}, [], "x"]))
def test_what_is_taken_can_be_read_wherever_it_stands(kinds: str, leaf: Any) -> None:
    struct, wrong = made(to_struct, {"k": Nested(kinds, leaf).value})
    if wrong:
        assert wrong.endswith(": nested too deeply")
        return
    value = struct_pb2.Value(struct_value=struct)
    for kind, put in ENVELOPES.values():
        message = kind()
        put(message, value)
        assert kind.FromString(message.SerializeToString()) == message


@pytest.mark.parametrize(("kinds", "deepest"), [("o", 30), ("l", 46)])
def test_how_deep_it_may_be(kinds: str, deepest: int) -> None:
    assert to_struct({"k": Nested(kinds * deepest, 1).value})
    with pytest.raises(NotJson) as refused:
        to_struct({"k": Nested(kinds * (deepest + 1), 1).value})
    assert refused.value.problem == "nested too deeply"


def test_text_may_be_deeper_and_can_be_read_again() -> None:
    assert json.loads(to_text(Nested("ol" * 99, 1).value)) == Nested("ol" * 99, 1).value
    for kinds in ("ol" * 101, "o" * 100_000):
        with pytest.raises(NotJson):
            to_text(Nested(kinds, 1).value)


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


def test_subclasses_are_what_they_are_based_on() -> None:
    given: dict[str, Any] = {Colour.RED: (Level.LOW, Colour.RED, Lying("true"))}
    plain = to_plain(given)
    assert plain == {"red": [1, "red", "true"]}
    assert [type(each) for each in plain["red"]] == [int, str, str]
    assert from_struct(to_struct(given)) == plain


@pytest.mark.parametrize(
    ("value", "received"),
    [
        ({"cart": [0, 0, 0, {"price": {1}}]}, "$.cart[3].price: set"),
        ({"a b": {"\n": object()}}, '$["a b"]["\\n"]: object'),
        ([math.nan], "$[0]: nan is no number of JSON's"),
        ({"n": {"x": 2**53 + 1}}, "$.n.x: an integer beyond 2**53, which would not arrive as it is: hand it over as a"),
        ({"k": {1: 2}}, "$.k: a key that is no string: int"),
        ({"k": "\ud800"}, "$.k: half a character"),
        ({"k": HOSTILE["dict"]}, "$.k: reading it raised RuntimeError"),
        ({"k": HOSTILE["posing"]}, "$.k: Posing"),
        (HOSTILE["twice"], "$.a: this key comes twice"),
        (1.0j, "$: complex"),
    ],
    ids=lambda each: each[:20] if isinstance(each, str) else "",
)
def test_it_says_what_is_wrong_and_where(value: Any, received: str) -> None:
    with pytest.raises(NotJson) as refused:
        to_value(value)
    assert str(refused.value).startswith(received)


def test_a_place_that_is_far_down_is_cut() -> None:
    with pytest.raises(NotJson) as refused:
        to_plain(Nested("o" * 150, {"last": {1}}).value)
    assert refused.value.path.startswith("$.a.a")
    assert refused.value.path.endswith(".a.last")
    assert len(refused.value.path) < 200


def test_what_has_no_end_is_refused() -> None:
    with pytest.raises(NotJson, match="more than the 1000 bytes"):
        to_plain(Endless(), max_bytes=1_000)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "NaN", "[-Infinity]", "{", "[" * 100_000], ids=lambda t: t[:12])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)
