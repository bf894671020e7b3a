"""Equal arguments have one text, different ones have two, and what cannot be compared is refused with its place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_node.step.canonical import canonical

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@dataclass
class Order:
    amount: int
    to: str = "Ada"


@dataclass
class Refund:
    amount: int
    to: str = "Ada"


class Model:
    """As a pydantic model looks from outside."""

    model_fields: ClassVar[Mapping[str, Any]] = {"amount": object()}
    model_extra: ClassVar[Mapping[str, Any] | None] = None

    def __init__(self, amount: Any) -> None:
        self.amount = amount

    def model_dump(self) -> dict[str, Any]:
        raise AssertionError("what it says of itself is not asked for")


class Excluded:
    exclude = True


class LeavingOut(Model):
    model_fields: ClassVar[Mapping[str, Any]] = {"amount": Excluded()}


@dataclass
class Secret:
    value: bytes = field(default=b"x", repr=False)


def of(*args: Any, **kwargs: Any) -> str:
    return canonical(args, kwargs)


def typed(value: Any) -> Any:
    """The value with its types, so that 1, 1.0 and True differ."""
    if isinstance(value, list):
        return "list", [typed(item) for item in value]
    if isinstance(value, dict):
        return "dict", sorted((key, typed(item)) for key, item in value.items())
    return type(value).__name__, repr(value)


@given(VALUES, VALUES)
def test_two_values_have_one_text_only_if_they_are_the_same(one: Any, other: Any) -> None:
    assert (of(one) == of(other)) == (repr(typed(one)) == repr(typed(other)))


@given(st.dictionaries(st.text(max_size=5), SCALARS))
def test_the_order_of_names_does_not_count(named: dict[str, Any]) -> None:
    turned = dict(reversed(named.items()))
    assert of(named) == of(turned)


def test_the_order_of_keyword_arguments_does_not_count_and_their_names_do() -> None:
    assert of(a=1, b=2) == of(b=2, a=1)
    assert len({of(1, 2), of(2, 1), of(1, b=2), of(a=1, b=2), of([1, 2]), of({"a": 1, "b": 2})}) == 6


def test_classes_with_the_same_fields_differ_and_a_tuple_is_a_list() -> None:
    assert of(Order(1)) == of(Order(1, "Ada"))
    assert len({of(Order(1)), of(Order(2)), of(Refund(1)), of({"amount": 1, "to": "Ada"}), of(Model(1))}) == 5
    assert of(("a", 1)) == of(["a", 1])


def test_halves_of_characters_are_told_apart() -> None:
    assert of("\ud800") != of("\udc00")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({1}, "args[0]"),
        (b"x", "args[0]"),
        (float("nan"), "args[0]"),
        (float("inf"), "args[0]"),
        ({"a": [0, {2}]}, "args[0].a[1]"),
        ({1: "a"}, "args[0]"),
        (object(), "args[0]"),
        (Order, "args[0]"),
        (Model(b"x"), "args[0].amount"),
        (LeavingOut(1), "args[0].amount"),
        (Secret(), "args[0].value"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_compared_is_refused_with_its_place_and_what_to_do(value: Any, place: str) -> None:
    with pytest.raises(TypeError, match="give the step a key=") as refused:
        of(value)
    assert str(refused.value).startswith(f"{place}: ")


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(TypeError, match="nested so deeply"):
        of(circle)
