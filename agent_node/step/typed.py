"""Results of a type that the author names (`returns=`): dataclasses and pydantic models, also in lists and objects.

Guarantees: what is made of a record is made of its JSON alone, in the first attempt as in every later one. Fields are
read by the types that the class declares: a class, `list[...]`, `dict[str, ...]`, and any of these or None; a field of
another type gets the JSON value as it is.
"""

import dataclasses
import types
from typing import Any, Union, get_args, get_origin, get_type_hints


def as_json(value: Any) -> Any:
    """The value with objects in the place of dataclasses and pydantic models."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(dump := getattr(type(value), "model_dump", None)):
        return dump(value, mode="json")
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def as_type(kind: Any, value: Any) -> Any:
    """The JSON value as this type. Raises what its class raises where it does not fit."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        kinds = [each for each in args if each is not type(None)]
        return None if value is None and len(kinds) < len(args) else as_type(kinds[0], value)
    if origin is list and isinstance(value, list):
        return [as_type(args[0], item) for item in value]
    if origin is dict and isinstance(value, dict):
        return {key: as_type(args[1], item) for key, item in value.items()}
    if callable(validate := getattr(kind, "model_validate", None)):
        return validate(value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{name: as_type(hints.get(name), item) for name, item in value.items()})
    return value
