"""JSON between agents and the wire: what an agent hands over becomes a Struct or JSON text, and the other way round.

Guarantees what agentring/plain_json.py does, and that what goes out is no more than one message holds; what is refused
says what it is of, where and why. Called by turns, steps and task runs."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf import struct_pb2

from agentring import plain_json
from agentring.agent import JsonObject
from agentring.errors import MalformedRequest
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from agentring.v1 import session_pb2

T = TypeVar("T")

_REASONS = {"state": "STATE_INVALID", "result": "RESULT_INVALID", "event": "EVENT_INVALID"}
"""By what is invalid; all else is what a tool or a question is called with."""

_encode = json.JSONEncoder(ensure_ascii=False).encode
"""As json.dumps, which would make one for each call."""


class NotJson(Exception):
    """State, result or arguments are not JSON, or too large, or too deep."""

    def __init__(self, what: str, path: str, problem: str) -> None:
        """what: as `state`; path: in it, as `$.cart[3].price`."""
        super().__init__(what, path, problem)
        self.reason = _REASONS.get(what.partition(" ")[0], "TOOL_ARGUMENT_INVALID")
        """Of a turn that fails with it."""
        self.path = path
        self.problem = problem
        self.detail = f"{what} {path}: {problem}"
        """For people: what, where and why."""

    def __str__(self) -> str:
        """One line."""
        return self.detail


def to_struct(data: Mapping[str, Any], what: str = "result") -> struct_pb2.Struct:
    """A JSON object as the wire has it. Raises NotJson."""
    struct = _checked(what, lambda: plain_json.to_struct(data, max_bytes=MAX_MESSAGE_BYTES))
    if struct.ByteSize() > MAX_MESSAGE_BYTES // 2:
        # Where it will stand: an event that is more than one message holds would end every stream.
        ended = session_pb2.Event(turn_completed=session_pb2.TurnCompleted(result=struct))
        _check_size(what, session_pb2.ConverseResponse(events=[ended]).ByteSize())
    return struct


def to_value(data: Any, what: str = "result") -> struct_pb2.Value:
    """A JSON value as the wire has it. Raises NotJson."""
    value = _checked(what, lambda: plain_json.to_value(data, max_bytes=MAX_MESSAGE_BYTES))
    _check_size(what, value.ByteSize())
    return value


def to_plain_value(data: Any, what: str = "result") -> Any:
    """A JSON value as it is read from JSON text, which is carried as `to_value` has it, too. Raises NotJson."""
    plain = _checked(what, lambda: plain_json.to_plain(data, max_bytes=MAX_MESSAGE_BYTES))
    to_value(plain, what)
    return plain


def to_json(data: Any, what: str = "result") -> str:
    """A JSON value as text, which is carried as `to_value` has it, too. Raises NotJson."""
    return _encode(to_plain_value(data, what))


def to_state(data: Any, max_bytes: int) -> tuple[str, JsonObject]:
    """A state as JSON text, and as it is read from that. Raises NotJson."""

    def read() -> tuple[str, JsonObject]:
        plain = plain_json.to_plain(data, max_bytes=max_bytes)
        if not isinstance(plain, dict):
            raise plain_json.NotJson("$", "the state must be an object")
        text = _encode(plain)
        if (size_bytes := len(text) if text.isascii() else len(text.encode())) > max_bytes:
            raise plain_json.NotJson("$", f"{size_bytes} bytes, more than the {max_bytes} that are allowed")
        return text, plain

    return _checked("state", read)


def from_struct(struct: struct_pb2.Struct) -> JsonObject:
    """A JSON object as an agent has it; whole numbers come as int. Raises MalformedRequest where it is none (NaN)."""
    if not struct.fields:
        return {}
    found = plain_json.from_struct(struct)
    try:
        json.dumps(found, allow_nan=False)
    except ValueError:
        raise MalformedRequest from None
    return found


def changed_keys(before_json: str, after_json: str, after: JsonObject) -> list[str]:
    """The top-level keys of two objects that differ. after: as after_json is read."""
    if before_json == after_json:
        return []
    before = json.loads(before_json)
    return sorted(
        key
        for key in before.keys() | after.keys()
        if key not in before or key not in after or _differ(before[key], after[key])
    )


def _differ(before: Any, after: Any) -> bool:
    """Of two values as they are read from JSON."""
    # 1, 1.0 and true are equal here, and three things in JSON, as are 0.0 and -0.0.
    kind = type(before)
    if before != after or kind is not type(after):
        return True
    return kind is not str and kind is not int and _encode(before) != _encode(after)


def _checked(what: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except plain_json.NotJson as error:
        raise NotJson(what, error.path, error.problem) from error.__cause__


def _check_size(what: str, size_bytes: int) -> None:
    if size_bytes > MAX_MESSAGE_BYTES:
        raise NotJson(what, "$", f"{size_bytes} bytes, more than the {MAX_MESSAGE_BYTES} that are allowed")
