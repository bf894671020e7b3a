"""A client's stream whose request says in `content-length` how long its body is: another length is a fault of the
stream (RFC 9113 8.1.1). Few clients of gRPC say it, and the others are to pay nothing for it."""

from __future__ import annotations

from agentring.http2.budget import Budget
from agentring.http2.frames import Code, StreamBroken
from agentring.http2.stream import StreamConnection
from router.relay.client_stream import ClientStream


class ContentLengthStream(ClientStream):
    """Such a stream."""

    __slots__ = ("_missing_bytes",)

    def __init__(
        self, connection: StreamConnection, stream_id: int, budget: Budget, max_message_bytes: int, content_length: int
    ) -> None:
        """content_length: as the request says it; the rest as ClientStream."""
        super().__init__(connection, stream_id, budget, max_message_bytes)
        self._missing_bytes = content_length

    def receive_data(self, buffer: bytes, start: int, length: int) -> None:
        """As Stream."""
        self._missing_bytes -= length
        if self._missing_bytes < 0 and not self.receive_ended:
            self._wrong_length()
        else:
            super().receive_data(buffer, start, length)

    def receive_end(self) -> None:
        """As Stream."""
        if self._missing_bytes and not self.receive_ended:
            self._wrong_length()
        else:
            super().receive_end()

    def _wrong_length(self) -> None:
        broken = StreamBroken(Code.PROTOCOL_ERROR, "content-length is not the body's length")
        self.connection.break_stream(self.id, broken)
