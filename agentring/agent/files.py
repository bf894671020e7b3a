"""Inputs of several parts, and files, as the author of an agent sees them. docs/agents.md is the guide."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class TextPart:
    """Words of the user.

    >>> TextPart("What is in this picture?").text
    'What is in this picture?'
    """

    text: str


@dataclass(frozen=True, slots=True)
class JsonPart:
    """Any JSON; whole numbers are int.

    >>> JsonPart({"page": 4}).value["page"]
    4
    """

    value: Any


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file of the user.

    for part in ctx.input_parts:
        if isinstance(part, FilePart) and part.media_type == "image/png":
            picture = await part.read()
    """

    media_type: str
    """As the client says it, as in `image/png`; nobody has looked into the file."""
    size_bytes: int
    name: str
    """For people; empty: it has none."""
    sha256: str
    """Of the content, in hexadecimal digits."""
    _read: Callable[[], Awaitable[bytes]] = field(repr=False, compare=False)

    async def read(self) -> bytes:
        """The content, of 16 MiB at most; its SHA-256 was compared.

        Raises FileNotFound where the store does not have it (any more), NodeFenced, StoreUnavailable.
        """
        return await self._read()


@dataclass(frozen=True, slots=True)
class File:
    """A file that an agent puts out, by yielding it. Clients see a `file_output` and fetch the content.

    >>> report = File(b"a,b\\n1,2\\n", "text/csv", name="report.csv")

    data: at most 16 MiB. A session has 64 MiB of files; those used longest ago go first.
    """

    data: bytes = field(repr=False)
    media_type: str
    name: str = ""


Part = TextPart | JsonPart | FilePart
"""One part of an input."""


class InputParts(Protocol):
    """The part of Context that has the input's parts."""

    @property
    def input_parts(self) -> Sequence[Part]:
        """All that the user gave, in its order: the text, if there is any, and then the parts.

            words = [part.text for part in ctx.input_parts if isinstance(part, TextPart)]

        A task's has no files.
        """
