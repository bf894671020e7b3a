"""A turn's acceptance in an event log.

Guarantees: whoever did not send the turn reads its input with it, also from the store; who did send it is spared the
bytes, and the log keeps no copy of what the waiting turn has. An input that no client could read in an event (it would
be more than a message holds, or is nested too deeply there) is left out, and the event says so. Made by log.py.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from agent_node.events import encoding
from agent_node.events.entries import ENTRY_OVERHEAD_BYTES, Single
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from agentring.v1 import store_pb2

_SHALLOW_BYTES = 200
"""What is smaller cannot be nested too deeply: each message in another takes two bytes."""
_RESPONSE_BYTES = 64
"""The most that a response, or the store's row, adds to an event."""


@dataclass
class Accepted(Single):
    """`raw` is without the input."""

    accepted: bytes
    """A session_pb2.TurnAccepted, as it stands in `raw`."""
    input: bytes
    """A session_pb2.Input."""

    @property
    def size_bytes(self) -> int:
        """As Single, with the input."""
        return len(self.raw) + len(self.input) + ENTRY_OVERHEAD_BYTES

    def whole(self) -> Single:
        """With the input."""
        raw = self._with(encoding.with_input(self.accepted, self.input))
        if len(raw) + _RESPONSE_BYTES > MAX_MESSAGE_BYTES:
            raw = self._with(encoding.without_input(self.accepted, "TOO_LARGE"))
        elif len(self.input) > _SHALLOW_BYTES and not _is_readable(raw):
            raw = self._with(encoding.without_input(self.accepted, "UNREADABLE"))
        return Single(self.first_seq, self.seq, self.turn_id, raw)

    def after(self, after_seq: int) -> Single:
        """As Single."""
        if after_seq < self.first_seq:
            return self
        raw = self._covering(after_seq + 1).SerializeToString()
        return Accepted(after_seq + 1, self.seq, self.turn_id, raw, self.accepted, self.input)

    def _with(self, accepted: bytes) -> bytes:
        head = self.raw[: len(self.raw) - len(encoding.turn_accepted(self.accepted))]
        return head + encoding.turn_accepted(accepted)


def _is_readable(raw: bytes) -> bool:
    """Whether it can be read where it is nested most deeply, which is in the store."""
    try:
        store_pb2.StoredEvents.FromString(encoding.stored_event(raw, ()))
    except DecodeError:
        return False
    return True
