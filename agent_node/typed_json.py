"""JSON as objects of the types that an author names, and back: dataclasses, pydantic models, and what they are made of.

Guarantees: what does not fit is refused with its place (`$.cart[3].price`) and why, and no value stands in that. What
is made of an object's JSON is read as that object again, or refused. pydantic is never imported: a class that has its
methods is used by them. Called by the state of runs and by agents' settings.
"""

import dataclasses
import types
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from agentring.plain_json import type_name

_TEXTS = (datetime, date, time, UUID, Decimal, PurePath)
"""Types whose values are a str in JSON."""
_ISO = (datetime, date, time)
_PLAIN = {str: "a str", bool: "a bool", int: "an int", float: "a number", dict: "an object", list: "a list"}


class DoesNotFit(Exception):
    """A value is not of the type."""

    def __init__(self, path: str, problem: str) -> None:
        """path: as `$.cart[3].price`."""
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def to_plain(value: Any) -> Any:
    """The value with JSON in the place of objects; what has no JSON stays as it is. Raises what a model's own dumping
    raises, RecursionError."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return {name: to_plain(getattr(value, name)) for name in fields}
    if callable(dump := getattr(type(value), "model_dump", None)):
        return dump(value, mode="json", by_alias=True, round_trip=True, warnings=False)
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, _TEXTS):
        return value.isoformat() if isinstance(value, _ISO) else str(value)
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((to_plain(item) for item in value), key=repr)  # the same order for the same items
    return value


def read(kind: Any, value: Any, path: str = "$") -> Any:
    """The JSON value as this type. Raises DoesNotFit; NameError where a class's annotations cannot be found."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return read(args[0], value, path)
    if (base := getattr(kind, "__supertype__", None)) is not None:
        return read(base, value, path)
    if kind is Any or kind is object:
        return value
    if origin in (Union, types.UnionType):
        return _read_one_of(args, value, path)
    if origin is Literal:
        if not any(value == each and type(value) is type(each) for each in args):
            raise DoesNotFit(path, f"none of {', '.join(map(repr, args))}")
        return value
    if kind is None or kind is type(None):
        if value is not None:
            raise DoesNotFit(path, "not null")
        return None
    if origin is not None:
        return _read_container(origin, args, value, path)
    return _read_class(kind, value, path)


def _read_one_of(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    errors: list[DoesNotFit] = []
    for kind in others:
        try:
            return read(kind, value, path)
        except DoesNotFit as error:
            errors.append(error)
    raise max(errors, key=lambda error: len(error.path))  # the one that got furthest says most


def _read_container(origin: Any, args: tuple[Any, ...], value: Any, path: str) -> Any:
    if origin is dict:
        found = _expect(dict, value, path)
        return {_key(args[0], key, path): read(args[1], item, at(path, key)) for key, item in found.items()}
    if origin in (list, set, frozenset) or (origin is tuple and args[-1] is Ellipsis):
        items = _expect(list, value, path)
        return origin(read(args[0], item, at(path, place)) for place, item in enumerate(items))
    if origin is tuple:
        items = _expect(list, value, path)
        if len(items) != len(args):
            raise DoesNotFit(path, f"{len(items)} items, not {len(args)}")
        return tuple(
            read(kind, item, at(path, place)) for place, (kind, item) in enumerate(zip(args, items, strict=True))
        )
    raise DoesNotFit(path, f"its type is {type_name(origin)}, which no JSON is read as")


def _key(kind: Any, key: str, path: str) -> Any:
    return key if kind is str or kind is Any else read(kind, key, at(path, key))


def _read_class(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(kind, type):
        raise DoesNotFit(path, "its type is none that JSON is read as")
    if callable(getattr(kind, "get_secret_value", None)):
        return kind(_expect(str, value, path))
    if callable(validate := getattr(kind, "model_validate", None)):
        return _validated(validate, value, path)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, path)
    if kind in _PLAIN:
        return _expect(kind, value, path)
    if issubclass(kind, Enum):
        return _made(lambda: kind(value), kind, path)
    if issubclass(kind, _TEXTS):
        text = _expect(str, value, path)
        make = kind.fromisoformat if issubclass(kind, _ISO) else kind
        return _made(lambda: make(text), kind, path)
    if kind is tuple:
        return tuple(_expect(list, value, path))
    raise DoesNotFit(path, f"its type is {type_name(kind)}, which no JSON is read as")


def _read_dataclass(kind: type[Any], value: Any, path: str) -> Any:
    found = _expect(dict, value, path)
    hints = _hints(cast(Any, kind))
    values = {}
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        if field.name in found:
            values[field.name] = read(hints[field.name], found[field.name], at(path, field.name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise DoesNotFit(at(path, field.name), "missing")
    for key in found:
        if key not in values:
            raise DoesNotFit(at(path, key), f"{type_name(kind)} has no such field")
    return _made(lambda: kind(**values), kind, path)


@lru_cache(maxsize=1024)
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _expect(kind: type[Any], value: Any, path: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise DoesNotFit(path, f"not {_PLAIN[kind]}, but {_named(value)}")
    return value


def _named(value: Any) -> str:
    return "null" if value is None else _PLAIN.get(type(value), f"a {type_name(type(value))}")


def _made(make: Any, kind: type[Any], path: str) -> Any:
    """Raises DoesNotFit where the class's own code refuses: its words may hold values."""
    try:
        return make()
    except Exception as error:
        raise DoesNotFit(path, f"no {type_name(kind)} ({type_name(type(error))})") from error


def _validated(validate: Any, value: Any, path: str) -> Any:
    try:
        return validate(value)
    except Exception as error:
        if not callable(errors := getattr(error, "errors", None)):
            raise DoesNotFit(path, type_name(type(error))) from error
        first = errors()[0]
        for part in first["loc"]:
            path = at(path, part)
        # Its name, since its words may hold values.
        raise DoesNotFit(path, str(first["type"])) from error


def at(path: str, key: str | int) -> str:
    """The place of an item or a field in what is at `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if key.isidentifier() and len(key) <= 64 else f"{path}[{key[:64]!r}]"
