"""A client's messages that a node may still have to be sent again.

Numbered by their place on the stream, from 1. Until a node has accepted the call, all of them are kept; after that, on
streams that can be re-attached, those that no node has acknowledged. Bounded: beyond MAX_REPLAY_BYTES the client is
granted nothing more (ClientStream), but for a message that has begun; or, where no other node can go on with the call
once it is accepted, nothing is kept any more.
"""

from typing import Final

from agentring.http2.budget import Budget, Holder

MAX_REPLAY_BYTES: Final = 1 << 20
EMPTY_MESSAGE: Final = bytes(5)
_COUNTED_FROM_BYTES: Final = 4 << 10
"""Less than this is not worth counting in the budget."""


class ReplayBuffer:
    """The messages of one call that may be sent again."""

    __slots__ = (
        "_budget",
        "_counted_bytes",
        "_has_request",
        "_holder",
        "acked",
        "bytes",
        "is_recording",
        "messages",
        "request",
        "sent_to_lost_node",
    )

    def __init__(self, budget: Budget, holder: Holder) -> None:
        """budget: where they are counted, as the holder's."""
        self._budget = budget
        self._holder: Holder | None = holder
        self._counted_bytes = 0
        self.messages: list[bytes] = []
        self.bytes = 0
        self._has_request = False
        self.request = b""
        """The call's one message, once it is not to be acknowledged any more."""
        self.is_recording = True
        """Whether messages are to be kept at all."""
        self.acked = 0
        """The number of the last one that was dropped."""
        self.sent_to_lost_node = 0
        """Messages up to this number have been sent to a node that is lost, which may have handled them."""

    def add(self, message: bytes) -> None:
        """A whole message came."""
        self.messages.append(message)
        self.bytes += len(message)
        if self.bytes >= _COUNTED_FROM_BYTES:
            self._count()

    def drop(self, acked: int) -> None:
        """The messages up to this number are safe."""
        if self._has_request:
            self.keep_request()
            return
        messages = self.messages
        count = min(acked - self.acked, len(messages))
        if count <= 0:
            return
        self.acked += count
        if count == len(messages):
            self.bytes = len(self.request)
            messages.clear()
        else:
            self.bytes -= sum(map(len, messages[:count]))
            del messages[:count]
        if self._counted_bytes:
            self._count()

    def node_lost(self) -> None:
        """The node that was sent all of them is lost, and nobody knows how far it had come."""
        self.sent_to_lost_node = self.acked + len(self.messages)

    def keep_request(self) -> None:
        """The call has but one message, which says what it is about, and is kept until the call's end."""
        self._has_request = True
        if self.messages and not self.request:
            self.request = self.messages.pop(0)

    def messages_to_send(self) -> list[bytes]:
        """What a node is sent that takes the call over. The first message always goes first: where it is not kept any
        more, an empty one in its place, which does not count."""
        if self.request:
            return [self.request, *self.messages]
        return [EMPTY_MESSAGE, *self.messages] if self.acked else list(self.messages)

    def end(self) -> None:
        """Nothing will be sent again."""
        if self.is_recording:
            self._has_request = False
            self.drop(self.acked + len(self.messages))
            self.request = b""
            self.bytes = 0
            if self._counted_bytes:
                self._count()
            self.is_recording = False
            self._holder = None  # they hold each other, and are to be freed when the call is

    def shed(self) -> None:
        """As Holder."""
        if self._holder is not None:
            self._holder.shed()

    def _count(self) -> None:
        counted_bytes = self.bytes if self.bytes >= _COUNTED_FROM_BYTES else 0
        change, before, self._counted_bytes = counted_bytes - self._counted_bytes, self._counted_bytes, counted_bytes
        if not before:
            self._budget.stalled(self)
        elif not counted_bytes:
            self._budget.flows(self)
        self._budget.add(change)
