"""JSON as an author's types, and back."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from agent_node.typed_json import DoesNotFit, read, to_plain

Sku = NewType("Sku", str)
NOBODY = UUID(int=0)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Item:
    sku: Sku
    price: float = 0.0
    colour: Colour | None = None


@dataclass
class Everything:
    cart: list[Item] = field(default_factory=list)
    by_name: dict[str, Item] = field(default_factory=dict)
    place: tuple[int, str] = (0, "")
    rest: tuple[int, ...] = ()
    tags: set[str] = field(default_factory=set)
    mode: Literal["fast", "slow"] = "fast"
    at: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    of: UUID = NOBODY
    owed: Decimal = Decimal(0)
    either: int | str = 0
    noted: Annotated[str, "a note"] = ""
    any: Any = None
    made: int = field(init=False, default=3)

    def __post_init__(self) -> None:
        if self.noted == "forbidden words":
            raise ValueError(self.noted)


class Model(BaseModel):
    cart: list[dict[str, int]] = Field(default_factory=list)
    short: str = ""

    @field_validator("short")
    @classmethod
    def _is_short(cls, short: str) -> str:
        if len(short) > 3:
            raise ValueError(f"{short} is long")
        return short


items = st.builds(Item, st.text(), st.floats(allow_nan=False), st.sampled_from([None, *Colour]))


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        Everything,
        cart=st.lists(items, max_size=2),
        by_name=st.dictionaries(st.text(), items, max_size=2),
        place=st.tuples(st.integers(), st.text()),
        rest=st.lists(st.integers(), max_size=2).map(tuple),
        tags=st.sets(st.text(), max_size=2),
        either=st.one_of(st.integers(), st.text()),
        at=st.datetimes(),
        of=st.uuids(),
        owed=st.decimals(allow_nan=False),
    )
)
def test_what_was_made_of_an_object_is_read_as_that_object_again(found: Everything) -> None:
    assert read(Everything, to_plain(found)) == found


def test_a_model_is_read_by_itself_also_within_a_dataclass() -> None:
    model = Model(cart=[{"a": 1}], short="abc")
    assert read(Model, to_plain(model)) == model
    assert read(dict[str, Model], to_plain({"x": model})) == {"x": model}


@pytest.mark.parametrize(
    ("kind", "value", "where", "why"),
    [
        (
            Everything,
            {"cart": [{"sku": "a"}, {"sku": "b", "price": "7"}]},
            "$.cart[1].price",
            "not a number, but a str",
        ),
        (Everything, {"cart": [{}]}, "$.cart[0].sku", "missing"),
        (Everything, {"cart": {}}, "$.cart", "not a list, but an object"),
        (Everything, {"basket": []}, "$.basket", "Everything has no such field"),
        (Everything, {"by_name": {"a b": {"sku": 1}}}, "$.by_name['a b'].sku", "not a str, but an int"),
        (Everything, {"place": [1]}, "$.place", "1 items, not 2"),
        (Everything, {"mode": "other"}, "$.mode", "none of 'fast', 'slow'"),
        (Everything, {"at": "yesterday"}, "$.at", "no datetime (ValueError)"),
        (Everything, {"either": None}, "$.either", "not an int, but null"),
        (Everything, {"cart": [{"sku": "a", "colour": "green"}]}, "$.cart[0].colour", "no Colour (ValueError)"),
        (Everything, {"noted": "forbidden words"}, "$", "no Everything (ValueError)"),
        (Everything, [], "$", "not an object, but a list"),
        (int, True, "$", "not an int, but a bool"),
        (int, 1.5, "$", "not an int, but a number"),
        (bytes, "x", "$", "its type is bytes, which no JSON is read as"),
        (Model, {"cart": [{"a": 1}, {"b": "secret"}]}, "$.cart[1].b", "int_parsing"),
        (Model, {"short": "secret"}, "$.short", "value_error"),
    ],
)
def test_what_does_not_fit_says_where_and_why_and_no_value(kind: Any, value: Any, where: str, why: str) -> None:
    with pytest.raises(DoesNotFit) as refused:
        read(kind, value)
    assert (refused.value.path, refused.value.problem) == (where, why)
    assert "secret" not in str(refused.value)


def test_an_int_is_a_float_where_that_is_asked_for() -> None:
    assert type(read(float, 3)) is float
