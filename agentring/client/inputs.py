"""What a user gives an agent, as a client's code sees it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from agentring.errors import InvalidFile
from agentring.plain_json import from_struct, from_value, to_struct, to_value
from agentring.v1 import session_pb2

_FILE_BYTES = 16 << 20
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


@dataclass(frozen=True, slots=True)
class File:
    """A file to be sent: its bytes, or where they are.

        session.send(["What is in this picture?", File(Path("cat.png"), "image/png")])

    At most 16 MiB. media_type: as in `image/png`, in small letters. name: for people; empty: that of the path.
    """

    data: bytes | Path = field(repr=False)
    media_type: str
    name: str = ""


Part: TypeAlias = TextPart | JsonPart | FilePart
SentPart: TypeAlias = str | Part | File
"""What an input may be made of; a str is a TextPart."""


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


def to_input(text: str | Sequence[SentPart], data: dict[str, Json] | None) -> tuple[session_pb2.Input, list[bytes]]:
    """What an agent is given, and the content of the files that the session must have first. Raises NotJson (a
    ValueError): the data would not arrive as they are; InvalidFile, OSError."""
    made, contents = session_pb2.Input(), list[bytes]()
    if isinstance(text, str):
        made.text = text
    else:
        made.parts.extend(_to_part(part, contents) for part in text)
    if data is not None:
        made.data.CopyFrom(to_struct(data))
    return made, contents


def to_file(file: File) -> tuple[FilePart, bytes]:
    """A file as it is referred to, and its content. Raises InvalidFile, before much of it is read, and OSError."""
    if isinstance(file.data, Path):
        with file.data.open("rb") as opened:
            content = opened.read(_FILE_BYTES + 1)  # it may be endless
    else:
        content = file.data
    if len(content) > _FILE_BYTES:
        raise InvalidFile(f"more than the {_FILE_BYTES} bytes that are allowed")
    name = file.name or (file.data.name if isinstance(file.data, Path) else "")
    return FilePart(sha256(content).hexdigest(), len(content), file.media_type, name), content


def _to_part(part: SentPart, contents: list[bytes]) -> session_pb2.Part:
    match part:
        case str():
            return session_pb2.Part(text=part)
        case TextPart(text=text):
            return session_pb2.Part(text=text)
        case JsonPart(value=value):
            return session_pb2.Part(json=to_value(value))
        case File():
            part, content = to_file(part)
            contents.append(content)
    assert isinstance(part, FilePart)
    file = session_pb2.BlobRef(size_bytes=part.size_bytes, media_type=part.media_type, name=part.name)
    file.sha256 = bytes.fromhex(part.sha256)
    return session_pb2.Part(file=file)


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
