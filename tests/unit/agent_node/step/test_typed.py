"""Results of a type that the author names are made of the record, in every attempt."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from agent_node.step.typed import as_json, as_type
from agentring.agent import AgentEvent, Context, StepFailed
from harness.attempts import Ran, Run


@dataclass
class Line:
    what: str
    amount: int | None = None


@dataclass
class Order:
    lines: list[Line]
    by_city: dict[str, Line] = field(default_factory=dict)
    note: Line | None = None
    rest: Any = None


class Model:
    """As a pydantic model is used."""

    made: ClassVar[list[Any]] = []

    def __init__(self, value: Any) -> None:
        self.value = value

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        return {"value": self.value, "mode": mode}

    @classmethod
    def model_validate(cls, value: dict[str, Any]) -> "Model":
        cls.made.append(value)
        return cls(value["value"])


ORDER = Order([Line("tea", 2), Line("milk")], {"Oslo": Line("ice")}, Line("soon"), [1, {"a": None}])


def test_dataclasses_in_lists_objects_and_fields_come_back() -> None:
    assert as_type(Order, as_json(ORDER)) == ORDER
    assert as_type(list[Order], as_json([ORDER, ORDER])) == [ORDER, ORDER]
    assert as_type(dict[str, Line], as_json({"a": Line("x")})) == {"a": Line("x")}
    assert as_type(Order | None, None) is None
    assert as_type(Order | None, as_json(ORDER)) == ORDER


def test_models_are_asked_for_their_json_and_made_of_it() -> None:
    assert as_json((Model(7),)) == [{"value": 7, "mode": "json"}]
    assert as_type(Model, {"value": 7}).value == 7
    assert Model.made == [{"value": 7}]


def test_what_is_no_class_stays_as_it_is() -> None:
    for value in (1, "a", None, [1], {"a": 1}):
        assert as_type(Any, value) == as_type(None, value) == as_json(value) == value


def test_a_record_that_does_not_fit_is_the_class_s_error() -> None:
    with pytest.raises(TypeError, match="unexpected"):
        as_type(Line, {"what": "tea", "unexpected": 1})


async def test_every_attempt_gets_the_type() -> None:
    ran = Ran()
    seen: list[Any] = []

    async def order() -> Order:
        ran.called("order")
        return ORDER

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        seen.append(await ctx.step("order", order, returns=Order))
        await ctx.step("last", ran.effect, "last")
        with pytest.raises(StepFailed, match="ResultNotKept"):
            await ctx.step("without", order)
        yield ""

    run = Run(agent)
    assert await run.attempt(2) is None
    await run.to_the_end()
    assert seen == [ORDER, ORDER]
    assert seen[0] is not ORDER
    assert ran.calls["order"] == 2
