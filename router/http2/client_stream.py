"""A client's half of a call: its messages, kept and handed to the node's half; what it is sent waits here.

Guarantees: the client is granted a window of 64 KiB, less what waits for the node and once more than KEPT_BYTES are
kept, so that each direction is held back by the one beyond it; a message over the limit is refused as soon as its
length is known, but taken in to its end first where that is not far, because a status that overtakes a message is lost
to a client on grpc.aio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentring.errors import MessageTooLarge
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from router.http2.budget import Budget
from router.http2.frames import Code, StreamBroken
from router.http2.kept import KEPT_BYTES, Kept
from router.http2.messages import PREFIX, PREFIX_BYTES, Assembler
from router.http2.stream import Stream

if TYPE_CHECKING:
    from router.http2.call import Call
    from router.http2.connection import Connection
    from router.http2.node_stream import NodeStream

WINDOW = 64 << 10
_LOW = WINDOW * 3 // 4
_MAX_SKIPPED_BYTES = 8 << 20
_unpack_prefix = PREFIX.unpack_from


class ClientStream(Stream):
    """The stream between the client and the router."""

    __slots__ = ("acked_frame", "assembler", "call", "kept", "node", "skipping_bytes", "through_seq", "waiting")

    def __init__(self, connection: Connection, stream_id: int, budget: Budget) -> None:
        """Opened by the client; `call` is set before anything else comes."""
        super().__init__(connection, stream_id, WINDOW, budget)
        self.low = _LOW
        self.call: Call
        self.node: NodeStream | None = None
        """Where its messages go."""
        self.kept: Kept | None = Kept(budget, self)
        """None: nothing needs to be sent again."""
        self.assembler: Assembler | None = None
        self.waiting = True
        """The call has not been told yet that a message came."""
        self.skipping_bytes = 0
        self.through_seq = 0
        """The client has now been sent everything up to it."""
        self.acked_frame = 0
        """The client's messages up to this one are safe."""

    def receive_data(self, buffer: bytes, start: int, length: int) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.break_stream(self.id, StreamBroken(Code.STREAM_CLOSED, "DATA after END_STREAM"))
            return
        self.granted -= length
        if length < PREFIX_BYTES or self.assembler or _unpack_prefix(buffer, start)[1] != length - PREFIX_BYTES:
            self._receive_part(buffer[start : start + length])
        else:
            message = buffer[start : start + length]
            if self.kept is not None:
                self.kept.add(message)
            if self.node is not None:
                self.node.send(message)
            if self.waiting:
                self.waiting = False
                self.call.first_message_came()
        if self.granted < _LOW:
            self.replenish()

    def receive_end(self) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.break_stream(self.id, StreamBroken(Code.STREAM_CLOSED, "END_STREAM came twice"))
            return
        self.receive_ended = True
        if self.waiting:
            self.waiting = False
            self.call.first_message_came()
        if self.node is not None:
            self.node.send_end(b"")
        elif self.send_ended:
            self.connection.forget(self, peer_may_send=False)

    def receive_reset(self, code: int) -> None:
        """As Stream."""
        self._gone()

    def connection_lost(self) -> None:
        """As Stream."""
        self._gone()

    def broken(self) -> None:
        """As Stream."""
        self.connection.forget(self, peer_may_send=True)
        self._gone()

    def shed(self) -> None:
        """As Stream."""
        self.call.shed()

    def replenish(self) -> None:
        """As Stream."""
        if self.granted < 0:
            self.check_granted()
            return
        allowed = WINDOW - (self.node.queued_bytes if self.node is not None else 0)
        if self.kept is not None:
            begun = self.assembler
            part_bytes, missing_bytes = (begun.part_bytes, begun.missing_bytes) if begun else (0, 0)
            allowed = min(allowed, max(KEPT_BYTES - self.kept.bytes - part_bytes, missing_bytes))
        increment = allowed - self.granted
        if increment >= WINDOW // 4 or self.granted <= 0 < increment:
            self.grant(increment)

    def drained(self) -> None:
        """As Stream."""
        if self.node is not None:
            self.node.replenish()

    def add_window(self, increment: int) -> None:
        """As Stream."""
        super().add_window(increment)
        if self.node is not None:
            self.node.replenish()

    def sending_ended(self) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.forget(self, peer_may_send=False)
        elif self.id in self.connection.streams:
            self.reset(Code.NO_ERROR)  # RFC 9113 8.1: the answer is complete, the rest of the request is not needed

    def release(self) -> None:
        """The call is over: nothing is kept."""
        self.node = None
        if self.kept is not None:
            self.kept.clear()
            self.kept = None
        if self.assembler is not None:
            self.assembler.clear()
            self.assembler = None

    def _gone(self) -> None:
        self.receive_ended = self.send_ended = True
        self.drop_queue()
        self.call.client_gone()

    def _receive_part(self, data: bytes) -> None:
        if self.skipping_bytes:
            self._skip(len(data))
            return
        if self.assembler is None:
            self.assembler = Assembler(self.budget, self)
        messages = self.assembler.feed(data)
        if any(len(message) > MAX_MESSAGE_BYTES + PREFIX_BYTES for message in messages):
            self._refuse_message()
            return
        if self.assembler.body_bytes > MAX_MESSAGE_BYTES:
            missing_bytes = self.assembler.missing_bytes
            self.assembler.clear()
            self.call.will_fail(MessageTooLarge())
            if missing_bytes > _MAX_SKIPPED_BYTES:
                self._refuse_message()
            else:
                self.skipping_bytes = missing_bytes
            return
        for message in messages:
            if self.kept is not None:
                self.kept.add(message)
        if self.node is not None:
            self.node.send(data)
        if messages and self.waiting:
            self.waiting = False
            self.call.first_message_came()

    def _skip(self, length: int) -> None:
        self.skipping_bytes -= length
        if self.skipping_bytes <= 0:
            self._refuse_message()

    def _refuse_message(self) -> None:
        self.call.fail(MessageTooLarge())
