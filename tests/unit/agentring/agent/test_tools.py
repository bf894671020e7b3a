"""Tools: what a model is told of a function, what is refused at its definition, and what its arguments become."""

import datetime
import enum
import functools
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
import pytest
from typing_extensions import TypedDict

from agentring.agent import Retry, Tool, ToolArgumentInvalid, tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Spot:
    city: str
    country: str = "NO"


class Line(TypedDict):
    article: str
    count: int


class Order(pydantic.BaseModel):
    lines: list[Line]
    note: str | None = None


class Secret:
    """Of no JSON Schema."""


@tool
async def everything(
    ctx: "OnlyForTypeCheckers",  # type: ignore[name-defined]  # noqa: F821
    n: int,
    x: float,
    text: Annotated[str, "Some words."],
    yes: bool,
    colour: Colour,
    unit: Literal["C", "F"],
    places: list[Spot],
    order: Order,
    day: datetime.date,
    at: datetime.datetime,
    code: uuid.UUID,
    scores: dict[str, float],
    copy: int | None = None,
    schema: int | str = 3,
    nothing: None = None,
    *,
    fencing_token: int,
) -> Any:
    """Takes everything.

    In two lines.
    """
    return ctx, n, fencing_token


ARGUMENTS: dict[str, Any] = {
    "n": 3,
    "x": 1.5,
    "text": "a",
    "yes": True,
    "colour": "red",
    "unit": "C",
    "places": [{"city": "Oslo"}],
    "order": {"lines": [{"article": "tea", "count": 2}]},
    "day": "2026-11-29",
    "at": "2026-11-29T01:00:00Z",
    "code": "12345678-1234-5678-1234-567812345678",
    "scores": {"a": 1.0},
}


def test_a_model_is_told_the_types_the_defaults_and_the_words() -> None:
    schema = everything.parameters
    shown = schema["properties"]
    assert everything.name == "everything"
    assert everything.description == "Takes everything.\n\nIn two lines."
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(ARGUMENTS)
    assert "title" not in schema
    assert shown["text"] == {"type": "string", "description": "Some words."}
    assert shown["unit"] == {"type": "string", "enum": ["C", "F"]}
    assert shown["day"] == {"type": "string", "format": "date"}
    assert shown["code"] == {"type": "string", "format": "uuid"}
    assert shown["copy"] == {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}
    assert shown["schema"]["default"] == 3
    assert shown["nothing"] == {"type": "null", "default": None}
    assert schema["$defs"]["Colour"]["enum"] == ["red", "blue"]
    assert schema["$defs"]["Spot"]["required"] == ["city"]
    assert "ctx" not in shown
    assert "fencing_token" not in shown
    assert everything.handed == {"ctx", "fencing_token"}


def test_arguments_come_as_the_function_wants_them_and_as_json() -> None:
    checked = everything.check(ARGUMENTS)
    assert checked.values["colour"] is Colour.RED
    assert checked.values["places"] == [Spot("Oslo")]
    assert checked.values["order"].lines[0]["count"] == 2
    assert checked.values["day"] == datetime.date(2026, 11, 29)
    assert checked.values["code"] == uuid.UUID(ARGUMENTS["code"])
    assert "copy" not in checked.values  # the function's own default
    assert checked.plain["colour"] == "red"
    assert checked.plain["day"] == "2026-11-29"
    again = everything.check(checked.values)
    assert again.plain == checked.plain


@pytest.mark.parametrize(
    ("changed", "path", "kind"),
    [
        ({"n": "many"}, "$.n", "int_parsing"),
        ({"n": 1.5}, "$.n", "int_from_float"),
        ({"colour": "green"}, "$.colour", "enum"),
        ({"unit": "K"}, "$.unit", "literal_error"),
        ({"places": [{"city": "Oslo"}, {}]}, "$.places[1].city", "missing"),
        ({"order": {"lines": [{"article": "tea"}]}}, "$.order.lines[0].count", "missing"),
        ({"day": "soon"}, "$.day", "date_from_datetime_parsing"),
        ({"more": 1}, "$.more", "extra_forbidden"),
        ({"ctx": 1}, "$.ctx", "extra_forbidden"),
        ({"fencing_token": 9}, "$.fencing_token", "extra_forbidden"),
        ({"argument_1": 9}, "$.argument_1", "extra_forbidden"),
    ],
)
def test_an_invalid_argument_is_named_by_its_path(changed: dict[str, Any], path: str, kind: str) -> None:
    with pytest.raises(ToolArgumentInvalid) as refused:
        everything.check({**ARGUMENTS, **changed})
    [problem] = refused.value.problems
    assert (problem.path, problem.kind) == (path, kind)
    assert str(refused.value) == f"the arguments of everything are invalid: {path}: {problem.text}"


def test_every_missing_argument_is_named() -> None:
    with pytest.raises(ToolArgumentInvalid) as refused:
        everything.check({})
    assert [problem.path for problem in refused.value.problems] == [f"$.{name}" for name in ARGUMENTS]


@pytest.mark.parametrize("text", ["{", "[1]", "3", '"a"', "null", "[" * 100_000])
def test_what_a_model_writes_is_refused_where_it_is_no_object(text: str) -> None:
    with pytest.raises(ToolArgumentInvalid, match=r"\$: is no JSON"):
        everything.check(text)


@tool
async def nothing_at_all() -> None: ...


@pytest.mark.parametrize("text", ["", " ", "{}"])
def test_no_arguments_may_be_written_in_any_way(text: str) -> None:
    assert nothing_at_all.check(text).values == {}
    assert nothing_at_all.parameters["properties"] == {}
    assert nothing_at_all.description == ""


def sync(city: str) -> str:
    return city


async def pieces(city: str) -> Any:
    yield city


@pytest.mark.parametrize("function", [sync, pieces, functools.partial(sync, "a"), lambda city: city, dict])
def test_what_is_not_async_is_refused_in_one_line(function: Any) -> None:
    with pytest.raises(TypeError, match="is no async function: write `async def`") as refused:
        Tool(function)
    assert "\n" not in str(refused.value)


async def untyped(city) -> None: ...  # type: ignore[no-untyped-def]


async def starred(*cities: str) -> None: ...


async def double_starred(**cities: str) -> None: ...


async def by_position(city: str, /) -> None: ...


@pytest.mark.parametrize("function", [untyped, starred, double_starred, by_position])
def test_a_parameter_that_no_model_can_fill_is_refused_at_the_definition(function: Any) -> None:
    with pytest.raises(TypeError, match=f"the tool {function.__name__} ") as refused:
        Tool(function)
    assert "\n" not in str(refused.value)


async def of_no_schema(secret: Secret) -> None: ...


async def of_no_type(secret: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("function", [of_no_schema, of_no_type])
def test_a_type_without_a_schema_is_refused_where_it_is_first_needed(function: Any) -> None:
    made = Tool(function)
    for _ in range(2):
        with pytest.raises(TypeError, match=f"the tool {function.__name__} has an argument"):
            made.check({"secret": 1})


async def with_sentinel(city: str, missing: Any = Secret) -> Any:
    return missing


def test_a_default_that_is_no_json_is_the_functions_own() -> None:
    made = Tool(with_sentinel)
    assert made.parameters["properties"]["missing"] == {}
    assert made.check({"city": "Oslo"}).values == {"city": "Oslo"}


class Shop:
    async def sell(self, article: str) -> str:
        return article

    async def __call__(self, article: str) -> str:
        return article


async def on_the_phone(number: int, text: str) -> str:
    return f"{number}: {text}"


async def test_methods_callable_objects_and_partials_are_tools() -> None:
    shop = Shop()
    for made in (Tool(shop.sell), Tool(shop, name="sell"), Tool(functools.partial(on_the_phone, number=110))):
        name, *more = made.parameters["properties"]
        assert not more
        assert await made(**made.check({name: "tea"}).values) in ("tea", "110: tea")
    assert Tool(shop.sell).name == "sell"
    assert Tool(functools.partial(on_the_phone, number=110)).name == "on_the_phone"


def test_a_schema_of_the_authors_own_is_taken_as_it_is() -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}

    async def remote(**arguments: Any) -> Any:
        return arguments

    made = Tool(remote, name="search", description="Finds.", parameters=schema)
    assert made.parameters == schema
    assert made.check('{"q": 3}').values == {"q": 3}
    with pytest.raises(ToolArgumentInvalid):
        made.check("3")


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": "é" * 129},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"concurrency": 0},
        {"retry": Retry(), "idempotent": False},
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tool"):
        tool(**options)(nothing_at_all.function)


def test_a_tool_is_still_its_function() -> None:
    @tool(name="plus", retry=Retry(most_tries=2), concurrency=3)
    async def add(a: int, b: int = 1) -> int:
        return a + b

    assert (add.name, add.concurrency) == ("plus", 3)
    assert repr(add) == "<Tool plus>"
    call = add(1, b=2)
    assert isinstance(call, object)
    call.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("public", [Tool, tool])
async def test_the_example_of_the_docstring_runs(public: Any) -> None:
    lines = public.__doc__.splitlines()
    code = "\n".join(line.removeprefix("    ") for line in lines[1:] if line.startswith("    ") or not line)
    exec(compile(code.partition("It still is")[0].partition("Raises as")[0], public.__name__, "exec"), {})
