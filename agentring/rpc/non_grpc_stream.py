"""A request that is not gRPC: taken in to its end, then answered with HTTP status 415 and one line of text.

Guarantees that it is over in bounded time and bytes, whatever its client sends or does not read.
"""

from __future__ import annotations

from agentring.http2.budget import Budget
from agentring.http2.frames import DEFAULT_WINDOW, Code, StreamBroken
from agentring.http2.hpack import block
from agentring.http2.stream import Stream, StreamConnection
from agentring.rpc.clock import Timer

_MAX_BODY_BYTES = 1 << 20
NOT_GRPC_BODY = b"This is a gRPC service: POST with content-type application/grpc.\n"
NOT_GRPC = block(((":status", "415"), ("content-type", "text/plain"), ("content-length", str(len(NOT_GRPC_BODY)))))


class NonGrpcStream(Stream):
    """The stream of such a request."""

    __slots__ = ("_answered", "_body_bytes", "_content_length", "_is_head", "_limit")

    def __init__(
        self, connection: StreamConnection, stream_id: int, budget: Budget, content_length: int | None, *, is_head: bool
    ) -> None:
        """content_length: as the request says it; is_head: the answer has no body."""
        super().__init__(connection, stream_id, DEFAULT_WINDOW, budget)
        self.low = DEFAULT_WINDOW // 2
        self._content_length = content_length
        self._is_head = is_head
        self._body_bytes = 0
        self._answered = False
        self._limit: Timer | None = None

    def set_limit(self, timer: Timer) -> None:
        """timer: will call `time_is_up`."""
        self._limit = timer

    def time_is_up(self) -> None:
        """The request has not come to its end, or its answer was not read."""
        self._limit = None
        self._answer()
        if self.queue is not None:
            self.reset(Code.CANCEL)

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
        self._over()

    def connection_lost(self) -> None:
        """As Stream."""
        self._over()

    def broken(self) -> None:
        """As Stream."""
        self.connection.forget(self, peer_may_send=True)
        self._over()

    def shed(self) -> None:
        """As Stream."""
        self.reset(Code.ENHANCE_YOUR_CALM)
        self._over()

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
        self._over()

    def _over(self) -> None:
        self.drop_queue()
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

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
