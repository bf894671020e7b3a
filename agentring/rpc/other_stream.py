"""A request that is not gRPC: taken in to its end, then answered with HTTP status 415 and one line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentring.http2.budget import Budget
from agentring.http2.frames import DEFAULT_WINDOW, Code, StreamBroken
from agentring.http2.hpack import block
from agentring.http2.stream import Stream

if TYPE_CHECKING:
    from agentring.http2.connection import Connection

_MAX_BODY_BYTES = 1 << 20
NOT_GRPC_BODY = b"This is a gRPC service: POST with content-type application/grpc.\n"
NOT_GRPC = block(((":status", "415"), ("content-type", "text/plain"), ("content-length", str(len(NOT_GRPC_BODY)))))


class OtherStream(Stream):
    """The stream of such a request."""

    __slots__ = ("_answered", "_body_bytes", "_content_length", "_is_head")

    def __init__(
        self, connection: Connection, stream_id: int, budget: Budget, content_length: int | None, *, is_head: bool
    ) -> None:
        """content_length: as the request says it; is_head: the answer has no body."""
        super().__init__(connection, stream_id, DEFAULT_WINDOW, budget)
        self.low = DEFAULT_WINDOW // 2
        self._content_length = content_length
        self._is_head = is_head
        self._body_bytes = 0
        self._answered = False

    def receive_data(self, buffer: bytes, start: int, length: int) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.break_stream(self.id, StreamBroken(Code.STREAM_CLOSED, "DATA after END_STREAM"))
            return
        self.granted -= length
        self._body_bytes += length
        if self._content_length is not None and self._body_bytes > self._content_length:
            self._wrong_length()
        elif self._body_bytes > _MAX_BODY_BYTES:
            self._answer()
        elif self.granted < self.low:
            self.replenish()

    def receive_end(self) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.break_stream(self.id, StreamBroken(Code.STREAM_CLOSED, "END_STREAM came twice"))
            return
        self.receive_ended = True
        if self._answered:
            return
        if self._content_length is not None and self._body_bytes != self._content_length:
            self._wrong_length()
        else:
            self._answer()

    def receive_reset(self, code: int) -> None:
        """As Stream."""
        self.drop_queue()

    def connection_lost(self) -> None:
        """As Stream."""
        self.drop_queue()

    def broken(self) -> None:
        """As Stream."""
        self.connection.forget(self, peer_may_send=True)
        self.drop_queue()

    def shed(self) -> None:
        """As Stream."""
        self.reset(Code.ENHANCE_YOUR_CALM)

    def replenish(self) -> None:
        """As Stream."""
        if self.granted < 0:
            self.check_granted()
        else:
            self.grant(DEFAULT_WINDOW - self.granted)

    def drained(self) -> None:
        """As Stream."""

    def sending_ended(self) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.forget(self, peer_may_send=False)
        else:
            self.reset(Code.NO_ERROR)

    def _answer(self) -> None:
        if self._answered:
            return
        self._answered = True
        if self._is_head:
            self.send_end(NOT_GRPC)
        else:
            self.send_headers(NOT_GRPC)
            self.send(NOT_GRPC_BODY)
            self.send_end(b"")

    def _wrong_length(self) -> None:
        broken = StreamBroken(Code.PROTOCOL_ERROR, "content-length is not the body's length")
        self.connection.break_stream(self.id, broken)
