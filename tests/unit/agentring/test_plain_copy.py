"""What is copied quickly is what would have been read with care, and all else is left alone."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring import plain_json
from agentring.plain_copy import NotPlain, PlainCopy
from agentring.plain_json import MOST_LEVELS, NotJson

texts = st.text(max_size=4)
numbers = st.one_of(st.integers(), st.floats())
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3), st.tuples(inner)),
    max_leaves=8,
)


class Str(str):
    """Not exactly a str."""


@given(values, st.integers(0, 60))
def test_it_is_what_plain_json_reads_by_itself(value: Any, max_bytes: int) -> None:
    try:
        copied = PlainCopy(max_bytes).copy(value)
    except (NotPlain, UnicodeEncodeError):
        return
    read = plain_json._Reading(max_bytes, 0, MOST_LEVELS, 1, 1, doubles=True).read(value)
    assert (repr(copied), type(copied)) == (repr(read), type(read))
    assert copied is not value or not isinstance(value, dict | list)


@pytest.mark.parametrize(
    "value",
    [Str("a"), {Str("a"): 1}, {1: 1}, (), [()], math.nan, [math.inf], 1 << 54, {"a": {1, 2}}, [b"a"], int],
    ids=repr,
)
def test_what_is_unusual_is_left_alone(value: Any) -> None:
    with pytest.raises(NotPlain):
        PlainCopy(100).copy(value)


def test_what_refers_to_itself_or_is_larger_than_allowed_is_left_alone() -> None:
    circle: list[Any] = []
    circle.append(circle)
    many: Any = "x" * 10
    for _ in range(12):
        many = [many] * 10
    for value in (circle, many, "x" * 100, {"x" * 100: 1}):
        with pytest.raises(NotPlain):
            PlainCopy(100).copy(value)
        with pytest.raises(NotJson):
            plain_json.to_plain(value, max_bytes=100)
