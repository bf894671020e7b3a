"""What an agent gets of a step is what is kept of it, and what cannot be kept is the step's error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_node.step.outcome import MOST_VALUE_BYTES, UNKNOWN, completed, failed, result_of
from agent_node.store.step_records import StepState
from agentring.agent import StepFailed, StepUnknown

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@given(VALUES)
def test_json_comes_back_as_it_was(value: Any) -> None:
    found = result_of("s", completed(value))
    assert (found, repr(found)) == (value, repr(value))


def test_what_is_json_in_other_clothes_comes_back_as_that() -> None:
    class Text(str):
        __slots__ = ()

    found = result_of("s", completed({"a": (1, Text("b"))}))
    assert (found, type(found["a"][1])) == ({"a": [1, "b"]}, str)


@pytest.mark.parametrize("name", ["object", "bytes", "set", "numbers as names", "NaN", "half a character"])
def test_what_is_no_json_is_an_error_of_the_step(name: str) -> None:
    no_json = {"object": object(), "bytes": b"x", "set": {1}, "numbers as names": {1: 2}, "NaN": float("nan")}
    value: Any = no_json.get(name, "\ud800")
    with pytest.raises(StepFailed) as raised:
        result_of("s", completed({"a": value}))
    assert (raised.value.name, raised.value.type_name) == ("s", "ResultNotKept")


def test_the_largest_value_is_kept_and_a_larger_one_is_an_error() -> None:
    largest = completed("x" * (MOST_VALUE_BYTES - 2))
    assert (largest.state, len(largest.value)) == (StepState.COMPLETED, MOST_VALUE_BYTES)
    for value in ("x" * (MOST_VALUE_BYTES - 1), "\N{SNOWMAN}" * (MOST_VALUE_BYTES // 3)):
        assert completed(value).state == StepState.FAILED
    assert completed("x" * 100, 50).state == StepState.FAILED


def test_an_error_comes_back_by_its_type_and_its_text() -> None:
    with pytest.raises(StepFailed) as raised:
        result_of("pay", failed(KeyError("who\0" + "x" * 2_000)))
    assert (raised.value.type_name, len(raised.value.text)) == ("KeyError", 1_000)
    assert str(raised.value).startswith("the step pay failed: KeyError: 'who\\x00xxx")


def test_an_error_that_cannot_say_what_it_is_comes_back_by_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(StepFailed) as raised:
        result_of("pay", failed(Mute()))
    assert (raised.value.type_name, raised.value.text) == ("Mute", "")


def test_what_is_unknown_is_raised() -> None:
    with pytest.raises(StepUnknown, match="the step pay was cut off and must not run twice"):
        result_of("pay", UNKNOWN)
