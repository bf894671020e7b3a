"""Inputs of several parts: what one may be, and as a run has it.

Guarantees: what is let in has at most 64 parts, each of a kind that is known here; a file's part says what a media type
and a name may be. Called before a turn or task is accepted, and where it is run.
"""

import json
import re

from agent_node.json_values import from_struct
from agent_node.store.file_records import FILE_BYTES
from agentring import plain_json
from agentring.errors import InvalidPart
from agentring.v1 import session_pb2

MOST_PARTS = 64
_DIGEST_BYTES = 32
_NAME_BYTES = 255
_WORD = r"[a-z0-9!#$&^_.+-]{1,127}"
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}(?: *;[ -~]*)?", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MEDIA_TYPE_CHARS = 255


def check_input(input: session_pb2.Input, *, may_have_files: bool = True) -> None:
    """Raises MalformedRequest, InvalidPart."""
    from_struct(input.data)
    if not input.parts:
        return
    if len(input.parts) > MOST_PARTS:
        raise InvalidPart(MOST_PARTS, f"more than {MOST_PARTS} parts")
    for index, part in enumerate(input.parts):
        if problem := _problem(part, may_have_files=may_have_files):
            raise InvalidPart(index, problem)


def parts_of(input: session_pb2.Input) -> bytes:
    """An input of several parts as parts alone, which RunFiles reads; empty: it is its text alone."""
    if not input.parts:
        return b""
    text = [session_pb2.Part(text=input.text)] if input.text else []
    return session_pb2.Input(parts=[*text, *input.parts]).SerializeToString()


def problem_of_file(file: session_pb2.BlobRef) -> str:
    """What of a reference to a file is not as it may be; empty: nothing."""
    if len(file.sha256) != _DIGEST_BYTES:
        return f"sha256 has {len(file.sha256)} bytes, not {_DIGEST_BYTES}"
    if file.size_bytes > FILE_BYTES:
        return f"{file.size_bytes} bytes, more than the {FILE_BYTES} that a file may have"
    if len(file.media_type) > _MEDIA_TYPE_CHARS or _MEDIA_TYPE.fullmatch(file.media_type) is None:
        return "media_type is none, as image/png in small letters is"
    if len(file.name.encode()) > _NAME_BYTES:
        return f"a name of more than {_NAME_BYTES} bytes"
    if _CONTROL.search(file.name):
        return "a name with control characters"
    return ""


def _problem(part: session_pb2.Part, *, may_have_files: bool) -> str:
    match part.WhichOneof("content"):
        case "text":
            return ""
        case "json":
            try:
                json.dumps(plain_json.from_value(part.json), allow_nan=False)
            except ValueError:
                return "NaN and infinite numbers are no JSON"
            return ""
        case "file":
            return problem_of_file(part.file) if may_have_files else "files are for the turns of a session"
    return "it is neither text, json nor file"
