"""What a user gives an agent, as a client's code sees it."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from agentring.plain_json import from_struct, from_value
from agentring.v1 import session_pb2

Json: TypeAlias = Any
"""What JSON can say: None, bool, int, float, str, list, dict."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """Words."""

    text: str


@dataclass(frozen=True, slots=True)
class JsonPart:
    """Any JSON; whole numbers are int."""

    value: Json


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file that the session has."""

    sha256: str
    """In hexadecimal digits."""
    size_bytes: int
    media_type: str
    name: str
    """Empty: it has none."""


Part: TypeAlias = TextPart | JsonPart | FilePart


@dataclass(frozen=True, slots=True)
class Input:
    """An input as it was sent."""

    text: str
    data: dict[str, Json]
    """Empty where there are no parameters."""
    parts: tuple[Part, ...] = ()
    """What came after the text."""


def read_input(raw: session_pb2.Input) -> Input:
    """As the wire has it. Parts of a kind that this version does not know are left out."""
    parts = tuple(part for each in raw.parts if (part := _read_part(each)) is not None)
    return Input(raw.text, from_struct(raw.data), parts)


def read_file(raw: session_pb2.BlobRef) -> FilePart:
    """As the wire has it."""
    return FilePart(raw.sha256.hex(), raw.size_bytes, raw.media_type, raw.name)


def _read_part(raw: session_pb2.Part) -> Part | None:
    match raw.WhichOneof("content"):
        case "text":
            return TextPart(raw.text)
        case "json":
            return JsonPart(from_value(raw.json))
        case "file":
            return read_file(raw.file)
    return None
