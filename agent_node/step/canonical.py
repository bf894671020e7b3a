"""The arguments of a step as one text, the same for equal arguments in every process.

Guarantees: what differs for a program differs in the text, also 1 and 1.0, or two classes with the same fields; what
does not survive JSON, or is not shown in it (a set, bytes, NaN, a secret, a field that is left out), is refused, since
two calls could then be taken for one. Classes are named without their module, so that one can be moved.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from agentring.plain_json import type_name

_MOST_LEVELS = 100
_GIVE_KEY = "cannot be compared; give the step a key="
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, allow_nan=False).encode


def canonical(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The text. Raises TypeError, which says where and what to do."""
    return _encode([_plain(list(args), "args", 0), _plain(dict(kwargs), "kwargs", 0)])


def _plain(value: Any, path: str, level: int) -> Any:
    """Lists begin with what they stand for, so that nothing is taken for something else."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{path}: {value!r} {_GIVE_KEY}")
        return float.__float__(value)
    if level == _MOST_LEVELS:
        raise TypeError(f"{path}: what is nested so deeply {_GIVE_KEY}")
    if isinstance(value, list | tuple):
        return ["list", *(_plain(item, f"{path}[{place}]", level + 1) for place, item in enumerate(value))]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{path}: a name of type {type_name(type(key))} {_GIVE_KEY}")
        return ["dict", _items(value, path, level)]
    if (fields := _fields(value, path)) is not None:
        return ["class", kind.__qualname__, _items(fields, path, level)]
    raise TypeError(f"{path}: a value of type {type_name(kind)} {_GIVE_KEY}")


def _items(items: Mapping[str, Any], path: str, level: int) -> dict[str, Any]:
    return {str.__str__(name): _plain(item, f"{path}.{name}", level + 1) for name, item in items.items()}


def _fields(value: Any, path: str) -> dict[str, Any] | None:
    """Of a dataclass or a pydantic model; None: it is neither."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    declared = getattr(type(value), "model_fields", None)
    if not isinstance(declared, Mapping) or not hasattr(value, "model_dump"):
        return None
    for name, field in declared.items():
        if getattr(field, "exclude", None):
            raise TypeError(f"{path}.{name}: a field that is left out {_GIVE_KEY}")
    extra = getattr(value, "model_extra", None) or {}
    return {**{name: getattr(value, name) for name in declared}, **extra}
