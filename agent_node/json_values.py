"""JSON between agents and the wire: what an agent hands over becomes a Struct, and the other way round.

Guarantees that what goes out can be read by any client: no NaN, no nesting beyond what protobuf parses, no more than
one message holds. Called by turns and task runs."""

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Error as ProtobufError

from agent_node.agent import JsonObject
from agentring.errors import MalformedRequest
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from agentring.v1 import session_pb2


class NotJson(Exception):
    """State, result or arguments are not JSON, or too large, or too deep."""


def to_struct(data: Mapping[str, Any]) -> struct_pb2.Struct:
    """A JSON object as the wire has it. Raises NotJson."""
    struct = struct_pb2.Struct()
    try:
        json.dumps(dict(data), allow_nan=False)
        struct.update(dict(data))
        # Where it will stand: messages nest at most 100 deep, and an event that nobody can read would end every stream.
        ended = session_pb2.Event(turn_completed=session_pb2.TurnCompleted(result=struct))
        size_bytes = len(session_pb2.ConverseResponse(events=[ended]).SerializeToString())
    except (TypeError, ValueError, OverflowError, AttributeError, ProtobufError, RecursionError) as error:
        raise NotJson from error
    if size_bytes > MAX_MESSAGE_BYTES:
        raise NotJson
    return struct


def from_struct(struct: struct_pb2.Struct) -> JsonObject:
    """A JSON object as an agent has it; whole numbers come as int. Raises MalformedRequest where it is none (NaN)."""
    try:
        return {name: _from_value(json_format.MessageToDict(value)) for name, value in struct.fields.items()}
    except (ValueError, json_format.SerializeToJsonError):
        raise MalformedRequest from None


def _from_value(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    if isinstance(value, dict):
        return {name: _from_value(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_from_value(item) for item in value]
    return value


def to_value(data: Any) -> struct_pb2.Value:
    """A JSON value as the wire has it. Raises NotJson."""
    return to_struct({"value": data}).fields["value"]


def changed_keys(before_json: str, after_json: str) -> list[str]:
    """The top-level keys of two objects that differ; read back, because what is kept is what the next turn will read.
    Raises ValueError, RecursionError."""
    if before_json == after_json:
        return []
    before, after = json.loads(before_json), json.loads(after_json)
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
