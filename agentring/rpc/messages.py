"""gRPC messages in a stream of DATA: where each begins and ends.

A message is 5 bytes (compressed flag, length) and its body; DATA frames may cut it anywhere. Lengths here count the
prefix too.
"""

import zlib
from struct import Struct
from typing import Final

from agentring.errors import MalformedRequest, MessageTooLarge
from agentring.http2.budget import Budget, Holder
from agentring.http2.frames import MAX_FRAME_BYTES
from agentring.rpc.limits import MAX_MESSAGE_BYTES

PREFIX_BYTES: Final = 5
PREFIX: Final = Struct(">BI")

NEVER: Final = b"longer than any frame it is looked up for"
PREFIXES: Final = tuple(
    PREFIX.pack(0, length - PREFIX_BYTES) if length >= PREFIX_BYTES else NEVER for length in range(MAX_FRAME_BYTES + 1)
)
"""By a payload's length: what it begins with if it is one whole message, and not compressed."""


class Assembler:
    """Puts together the messages that frames have cut. What has come of one is counted in the budget."""

    __slots__ = ("_budget", "_holder", "_part", "_whole_bytes")

    def __init__(self, budget: Budget, holder: Holder) -> None:
        """At the start of a message; holder: whose bytes they are."""
        self._budget = budget
        self._holder = holder
        self._part = bytearray()
        self._whole_bytes = 0

    def __bool__(self) -> bool:
        """Whether a message has begun."""
        return bool(self._part)

    @property
    def part(self) -> bytes:
        """What has come of it."""
        return bytes(self._part)

    @property
    def part_bytes(self) -> int:
        """How much that is."""
        return len(self._part)

    @property
    def missing_bytes(self) -> int:
        """How many of its bytes are still to come, as far as is known."""
        return max(0, (self._whole_bytes or PREFIX_BYTES) - len(self._part)) if self._part else 0

    @property
    def body_bytes(self) -> int:
        """How long it is without its prefix, as far as is known."""
        return max(0, self._whole_bytes - PREFIX_BYTES)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these bytes complete."""
        part = self._part
        before = len(part)
        part += data
        messages: list[bytes] = []
        start = 0
        while len(part) - start >= PREFIX_BYTES:
            self._whole_bytes = PREFIX_BYTES + PREFIX.unpack_from(part, start)[1]
            if len(part) - start < self._whole_bytes:
                break
            messages.append(bytes(part[start : start + self._whole_bytes]))
            start += self._whole_bytes
            self._whole_bytes = 0
        if start:
            del part[:start]
        self._count(before)
        return messages

    def clear(self) -> None:
        """The message that has begun is not wanted any more."""
        before = len(self._part)
        self._part.clear()
        self._count(before)

    def shed(self) -> None:
        """As Holder."""
        self._holder.shed()

    def _count(self, before: int) -> None:
        if self._part and not before:
            self._budget.stalled(self)
        elif before and not self._part:
            self._budget.flows(self)
        self._budget.add(len(self._part) - before)


def body(message: bytes, encoding: str) -> bytes:
    """A message without its prefix, unpacked where it is compressed. Raises MalformedRequest, MessageTooLarge."""
    if not message[0]:
        return message[PREFIX_BYTES:]
    if message[0] > 1 or encoding not in ("gzip", "deflate"):
        raise MalformedRequest
    unpacker = zlib.decompressobj(wbits=31 if encoding == "gzip" else 15)
    try:
        unpacked = unpacker.decompress(message[PREFIX_BYTES:], MAX_MESSAGE_BYTES + 1)
    except zlib.error:
        raise MalformedRequest from None
    if len(unpacked) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge
    if not unpacker.eof:
        raise MalformedRequest
    return unpacked
