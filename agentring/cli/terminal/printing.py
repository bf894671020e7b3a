"""How results are printed: a table for people, or the message's JSON for programs."""

import json
import sys
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console

# A terminal's own commands have no place in what an agent says.
_CONTROL = {code: None for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t"}


def without_control(text: str) -> str:
    """The text without a terminal's commands."""
    return text.translate(_CONTROL)


def to_fields(message: Message) -> dict[str, Any]:
    """The message in protobuf's JSON, with the proto's field names and with every field that has a default."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def print_json(fields: dict[str, Any]) -> None:
    """Prints JSON, the same whether or not people look."""
    print(json.dumps(fields, indent=2, ensure_ascii=not _takes_unicode()))


def _takes_unicode() -> bool:
    return sys.stdout is not None and sys.stdout.encoding.lower().replace("-", "") in ("utf8", "utf16", "utf32")


def console() -> Console:
    """Where tables go. Nothing in a table is markup: names come from other people."""
    return Console(highlight=False, markup=False, emoji=False)
