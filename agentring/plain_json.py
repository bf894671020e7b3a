"""JSON as agentring carries it: between programs and the wire, without changing a value on the way.

Guarantees: what is taken can be read by every protobuf runtime, and is there what it was here; what cannot be so is
refused with the place and the reason (`$.cart[3].price: set`): keys that are no strings or come twice, NaN, halves of
characters, integers beyond 2**53 where numbers are doubles (google.protobuf.Struct), what is nested too deeply or has
no end. Whatever the objects do while they are read (a dict whose `items` raises, a str that says something else of
itself) is refused likewise, and none of their code runs afterwards: what comes out is plain dicts, lists and values.
What is JSON in other clothes is taken as that: tuples, and subclasses of str, int, float, dict and list.

Used by nodes for what agents hand over, and by the Python client and the commands for what they send.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from google.protobuf import struct_pb2

from agentring.plain_copy import MOST_WHOLE, NotPlain, PlainCopy

MOST_MESSAGES = 97
"""How deep messages nest in what goes out, at most. The runtimes' own limit is 100, where a store or another protocol
may add a few; here a Struct lies 3 deep (response, event, its body), each object of JSON takes 3 and each list 2."""
STRUCT_DEPTH = 3
MOST_LEVELS = 200
"""How deep objects and lists nest in JSON that is kept as text, at most: Python's own reader has a limit, too."""
_MOST_BYTES = 64 << 20
_MOST_PATH = 160
_UNUSUAL: Any = object()
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class NotJson(ValueError):
    """A value that cannot be carried as it is."""

    def __init__(self, path: str, problem: str) -> None:
        """path: as `$.cart[3].price`."""
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def to_text(data: Any, *, max_bytes: int = _MOST_BYTES) -> str:
    """JSON text. Raises NotJson."""
    return json.dumps(to_plain(data, max_bytes=max_bytes), ensure_ascii=False, allow_nan=False)


def to_plain(data: Any, *, max_bytes: int = _MOST_BYTES) -> Any:
    """The value that JSON text of it would be read as. Raises NotJson."""
    plain = _plain(data, max_bytes)
    return _Reading(max_bytes, 0, MOST_LEVELS, 1, 1, doubles=False).read(data) if plain is _UNUSUAL else plain


def to_value(data: Any, *, max_bytes: int = _MOST_BYTES) -> struct_pb2.Value:
    """A value as the wire has it. Raises NotJson."""
    plain = _plain(data, max_bytes)
    if plain is _UNUSUAL:
        plain = _Reading(max_bytes, STRUCT_DEPTH, MOST_MESSAGES, 3, 2, doubles=True).read(data)
    value = struct_pb2.Value()
    _set(value, plain)
    return value


def to_struct(data: Mapping[str, Any], *, max_bytes: int = _MOST_BYTES) -> struct_pb2.Struct:
    """An object as the wire has it. Raises NotJson."""
    plain = _plain(data, max_bytes) if type(data) is dict else _UNUSUAL
    if plain is _UNUSUAL:
        plain = _Reading(max_bytes, STRUCT_DEPTH - 1, MOST_MESSAGES, 3, 2, doubles=True).read_object(data)
    struct = struct_pb2.Struct()
    for key, item in plain.items():
        _set(struct.fields[key], item)
    return struct


def from_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """As the program has it; whole numbers up to 2**53 come as int."""
    return {key: from_value(value) for key, value in struct.fields.items()}


def from_value(value: struct_pb2.Value) -> Any:
    """As from_struct."""
    match value.WhichOneof("kind"):
        case "number_value":
            return _number(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [from_value(item) for item in value.list_value.values]
    return None


def parse(text: str) -> Any:
    """Reads JSON text that somebody wrote. Raises ValueError, also where a key comes twice or a number is none."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key comes twice")
        return found

    def refuse(number: str) -> NoReturn:
        raise ValueError(f"{number} is no number of JSON's")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def type_name(kind: type) -> str:
    """The name of a class, whatever its own class says."""
    name = type.__dict__["__name__"].__get__(kind)
    return str.__str__(name)[:64]


def _plain(data: Any, max_bytes: int) -> Any:
    """A copy of what is plain JSON already, as nearly everything is; _UNUSUAL: it is to be read with care."""
    try:
        return PlainCopy(max_bytes).copy(data)
    except (NotPlain, UnicodeEncodeError, RuntimeError):
        return _UNUSUAL


class _Reading:
    """Goes through one value."""

    def __init__(
        self, max_bytes: int, depth: int, limit: int, object_depth: int, list_depth: int, *, doubles: bool
    ) -> None:
        """depth: of the value itself, limit: of anything in it; object_depth, list_depth: what each adds for its items;
        doubles: whether numbers are."""
        self._path: list[str | int] = []
        self._max_bytes = self._left_bytes = max_bytes
        self._depth = depth
        self._limit = limit
        self._object_depth = object_depth
        self._list_depth = list_depth
        self._doubles = doubles

    def read(self, value: Any) -> Any:
        """Raises NotJson."""
        try:
            return self._read(value, self._depth)
        except NotJson:
            raise
        except BaseException as error:
            raise self._refusal(self._problem(error)) from error

    def read_object(self, value: Any) -> dict[str, Any]:
        """As `read`, of what must be an object; any Mapping will do."""
        try:
            if not issubclass(type(value), Mapping):
                raise self._refusal(type_name(type(value)) + " is no object")
            return self._object(value, self._depth)
        except NotJson:
            raise
        except BaseException as error:
            raise self._refusal(self._problem(error)) from error

    def _read(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self._take(1)
        if value is None or kind is bool:
            return value
        # What the classes' own code says of a value does not count: it may say something else the next time.
        if issubclass(kind, str):
            return self._text(str.__str__(value))
        if issubclass(kind, int):
            return self._whole(int.__int__(value))
        if issubclass(kind, float):
            number = float.__float__(value)
            if not math.isfinite(number):
                raise self._refusal(f"{number} is no number of JSON's")
            return number
        if issubclass(kind, dict):
            return self._object(value, depth)
        if issubclass(kind, (list, tuple)):
            return self._list(value, depth)
        raise self._refusal(type_name(kind))

    def _object(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._check_depth(depth + 1)
        for key, item in value.items():
            if not issubclass(type(key), str):
                raise self._refusal(f"a key that is no string: {type_name(type(key))}")
            name = self._text(str.__str__(key))
            self._path.append(name)
            if name in found:
                raise self._refusal("this key comes twice")
            self._check_depth(depth + self._object_depth)
            found[name] = self._read(item, depth + self._object_depth)
            self._path.pop()
        return found

    def _list(self, value: Iterable[Any], depth: int) -> list[Any]:
        found: list[Any] = []
        self._check_depth(depth + 1)
        for index, item in enumerate(value):
            self._path.append(index)
            self._check_depth(depth + self._list_depth)
            found.append(self._read(item, depth + self._list_depth))
            self._path.pop()
        return found

    def _text(self, text: str) -> str:
        try:
            self._take(len(text) if text.isascii() else len(text.encode()))
        except UnicodeEncodeError:
            raise self._refusal("half a character (a surrogate without its other)") from None
        return text

    def _whole(self, number: int) -> int:
        if self._doubles and abs(number) > MOST_WHOLE:
            raise self._refusal("an integer beyond 2**53, which would not arrive as it is: hand it over as a string")
        if number.bit_length() > 12_000:  # Python reads no more than 4,300 digits
            raise self._refusal("an integer of more than 3,600 digits")
        return number

    def _take(self, size_bytes: int) -> None:
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            raise self._refusal(f"more than the {self._max_bytes} bytes that are allowed")

    def _check_depth(self, depth: int) -> None:
        if depth > self._limit:
            raise self._refusal("nested too deeply")

    def _problem(self, error: BaseException) -> str:
        if type(error) is RecursionError:
            return "nested too deeply"
        return f"reading it raised {type_name(type(error))}"

    def _refusal(self, problem: str) -> NotJson:
        path = "$" + "".join(_step(step) for step in self._path)
        if len(path) > _MOST_PATH:
            path = f"{path[: _MOST_PATH // 2]}…{path[-_MOST_PATH // 2 :]}"
        return NotJson(path, problem)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if _WORD.fullmatch(step):
        return f".{step}"
    return f"[{json.dumps(step[:64])}]"


def _set(value: struct_pb2.Value, plain: Any) -> None:
    kind = type(plain)
    if kind is str:
        value.string_value = plain
    elif kind is int or kind is float:
        value.number_value = plain
    elif kind is bool:
        value.bool_value = plain
    elif plain is None:
        value.null_value = struct_pb2.NULL_VALUE
    elif kind is dict:
        value.struct_value.SetInParent()
        for key, item in plain.items():
            _set(value.struct_value.fields[key], item)
    else:
        value.list_value.SetInParent()
        for item in plain:
            _set(value.list_value.values.add(), item)


def _number(number: float) -> int | float:
    is_negative_zero = number == 0 and math.copysign(1.0, number) < 0
    if number.is_integer() and abs(number) <= MOST_WHOLE and not is_negative_zero:
        return int(number)
    return number
