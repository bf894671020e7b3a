"""The arguments of a tool: a JSON Schema of them, and a check of those that a model has made.

Guarantees: what passes has the types that the function declares, and comes twice, as these types and as JSON; what does
not is refused with each place and reason, in words that a model can act on. Types are everything that pydantic has a
JSON Schema of: numbers, words, lists, objects, Literal, Enum, unions, dataclasses, TypedDict, models, dates, UUIDs.
Used by tools.py; pydantic is imported where the first tool is.
"""

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from agentring.agent.errors import ArgumentProblem, ToolArgumentInvalid

HANDED = ("ctx", "idempotency_key", "fencing_token")
"""What a run hands over to the tools that name it; none of it is an argument of the model's."""


MOST_CHARS = 1 << 20
"""Of the arguments as a model writes them. No event has room for more."""
_MOST_PROBLEMS = 100
"""That are listed: a model may get each of 100,000 items wrong, and listing them takes a second."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Arguments that have passed."""

    values: dict[str, Any]
    """As the function gets them."""
    plain: dict[str, Any]
    """As JSON: what is shown and compared."""


class Given:
    """Arguments by a JSON Schema that the author has: handed over as they come."""

    def __init__(self, name: str, schema: Mapping[str, Any]) -> None:
        self._name = name
        self.schema = dict(schema)

    def check(self, arguments: Mapping[str, Any] | str) -> Checked:
        """As Tool.check."""
        found = _object(self._name, arguments)
        return Checked(found, found)


class Declared:
    """Arguments by the types of the function's parameters."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        """Raises TypeError: a type has no JSON Schema."""
        self._name = name
        self._parameters = _of_model(function)
        self._model = _model(name, function, self._parameters)
        self.schema = _schema(name, self._model)

    def check(self, arguments: Mapping[str, Any] | str) -> Checked:
        """As Tool.check."""
        from pydantic import ValidationError
        from pydantic_core import PydanticSerializationError

        found = _object(self._name, arguments)
        try:
            checked = self._model.model_validate(found)
        except ValidationError as error:
            if (count := error.error_count()) > _MOST_PROBLEMS:
                many = ArgumentProblem("$", f"{count} things are wrong, too many to be listed", "too_many_problems")
                raise ToolArgumentInvalid(self._name, [many]) from None
            listed = error.errors(include_url=False, include_context=False, include_input=False)
            problems = [ArgumentProblem(_path(each["loc"]), each["msg"], each["type"]) for each in listed]
            raise ToolArgumentInvalid(self._name, problems) from None
        names = [name for place, name in enumerate(self._parameters) if _field(place) in checked.model_fields_set]
        values = {name: getattr(checked, _field(place)) for place, name in enumerate(self._parameters) if name in names}
        try:
            plain = checked.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings="none")
        except PydanticSerializationError:
            raise ToolArgumentInvalid(self._name, [ArgumentProblem("$", "is no JSON", "not_json")]) from None
        return Checked(values, plain)


def is_async(function: Any) -> bool:
    """Whether a call of it is awaited."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or (
        not inspect.isroutine(function)
        and not isinstance(function, type)
        and inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004  its kind is asked for
    )


def declared_by(name: str, function: Callable[..., Any], *, by_types: bool) -> frozenset[str]:
    """Those of HANDED that the function names. by_types: whether all others must have a type. Raises TypeError."""
    parameters = inspect.signature(function).parameters
    if by_types:
        for parameter in _of_model(function).values():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TypeError(f"the tool {name} is called by keywords, which {parameter} does not take")
            if parameter.annotation is parameter.empty:
                raise TypeError(f"the tool {name} has no type for its argument {parameter.name}")
    return frozenset(parameters) & frozenset(HANDED)


def _of_model(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    bound = set(function.keywords) if isinstance(function, partial) else set()
    return {each: found for each, found in parameters.items() if each not in HANDED and each not in bound}


def _object(name: str, arguments: Mapping[str, Any] | str) -> dict[str, Any]:
    found: Any = arguments
    if isinstance(arguments, str):
        if len(arguments) > MOST_CHARS:
            said = f"has {len(arguments)} characters, more than the {MOST_CHARS} that are allowed"
            raise ToolArgumentInvalid(name, [ArgumentProblem("$", said, "too_long")])
        try:
            found = json.loads(arguments) if arguments.strip() else {}  # models write nothing for no arguments
        except (ValueError, RecursionError) as error:
            raise ToolArgumentInvalid(name, [ArgumentProblem("$", f"is no JSON: {error}", "json_invalid")]) from None
    if not isinstance(found, Mapping) or not all(isinstance(each, str) for each in found):
        raise ToolArgumentInvalid(name, [ArgumentProblem("$", "is no JSON object", "dict_type")])
    return dict(found)


def _model(name: str, function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> Any:
    """A pydantic model. Its fields are numbered, since an argument may have the name of one of its methods."""
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = {}
    hints = _hints(name, function, parameters)
    for place, (argument, parameter) in enumerate(parameters.items()):
        fields[_field(place)] = (hints[argument], _field_info(argument, hints[argument], parameter.default))
    config = ConfigDict(extra="forbid", title=name)
    try:
        return create_model("Arguments", __config__=config, **fields)
    except Exception as error:
        raise TypeError(f"the tool {name} has an argument that has no JSON Schema: {_first_line(error)}") from error


def _hints(name: str, function: Any, parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Without those of the other parameters, whose types may be there for a type checker alone."""
    while isinstance(function, partial):
        function = function.func
    called = function if hasattr(function, "__globals__") or inspect.ismethod(function) else type(function).__call__
    names = getattr(inspect.unwrap(called), "__globals__", {})
    declared = types.SimpleNamespace(__annotations__={each: found.annotation for each, found in parameters.items()})
    try:
        return typing.get_type_hints(declared, globalns=names, include_extras=True)
    except NameError as error:
        raise TypeError(f"the tool {name} has an argument of a type that its module does not define: {error}") from None


def _field_info(argument: str, hint: Any, default: Any) -> Any:
    from pydantic import Field
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    options: dict[str, Any] = {"alias": argument}
    for said in getattr(hint, "__metadata__", ()):
        if isinstance(words := getattr(said, "documentation", said), str):
            options["description"] = words
    if default is inspect.Parameter.empty:
        return Field(**options)
    try:
        to_jsonable_python(default)
    except PydanticSerializationError:
        return Field(default_factory=lambda: default, **options)  # which no schema shows
    return Field(default=default, **options)


def _schema(name: str, model: Any) -> dict[str, Any]:
    from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
    from pydantic.json_schema import GenerateJsonSchema

    class Untitled(GenerateJsonSchema):
        """A field's title says what its name says."""

        def field_title_should_be_set(self, _: Any) -> bool:
            """No field's."""
            return False

    try:
        schema: dict[str, Any] = model.model_json_schema(by_alias=True, schema_generator=Untitled)
    except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
        raise TypeError(f"the tool {name} has an argument that has no JSON Schema: {_first_line(error)}") from error
    schema.pop("title", None)
    return schema


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _field(place: int) -> str:
    return f"argument_{place}"


def _path(loc: Sequence[str | int]) -> str:
    return "$" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in loc)
