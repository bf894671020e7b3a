"""A connection on which our own services are called. What it guarantees of HTTP/2 is ServerConnection's; a request that
is not gRPC is answered with HTTP status 415."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from agentring.http2.budget import Budget
from agentring.http2.hpack import Field
from agentring.http2.limits import Limits
from agentring.http2.server_connection import ServerConnection
from agentring.http2.stream import Stream
from agentring.http2.traffic import Traffic
from agentring.rpc.inbox import WINDOW
from agentring.rpc.other_stream import OtherStream
from agentring.rpc.request_head import RequestHead
from agentring.rpc.service_stream import ServiceStream, Timer

_YOUNG_S = 1.0


PING_INTERVAL_MS = 500
"""What we say of it; Limits.pings permits many more."""


class Clock(Protocol):
    """What of the event loop is needed."""

    def time(self) -> float:
        """Seconds, monotonic."""

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Timer:
        """Calls back after delay seconds."""


class Desk:
    """What all connections of a server share."""

    def __init__(
        self, name: str, limits: Limits, budget: Budget, clock: Clock, serve: Callable[[ServiceStream], None]
    ) -> None:
        """name: what we are, for clients; clock: the event loop; serve: given each call, starts its task."""
        self.name = name
        self.limits = limits
        self.budget = budget
        self.clock = clock
        self.serve = serve
        self.traffic = Traffic()


class ServiceConnection(ServerConnection):
    """A connection that a client has made."""

    def __init__(self, desk: Desk, now_s: float, wake: Callable[[], None]) -> None:
        """desk: the server's."""
        super().__init__(
            desk.limits, WINDOW, desk.traffic, now_s, wake, name=desk.name, ping_interval_ms=PING_INTERVAL_MS
        )
        self._desk = desk
        self.flushes = 0
        """How often `out` was written."""
        self.paced: list[asyncio.Future[None]] = []
        """To be resolved when it is written next."""

    def sent(self) -> None:
        """As SendSide."""
        super().sent()
        self._flushed()

    def resume(self) -> None:
        """As SendSide."""
        super().resume()
        self._flushed()

    def _flushed(self) -> None:
        self.flushes += 1
        if self.paced:
            paced, self.paced = self.paced, []
            for waited in paced:
                if not waited.done():
                    waited.set_result(None)

    def _reset_received(self, stream: Stream) -> None:
        # One that was there for a while did not come to be reset; a router's clients may all leave at the same time.
        if not isinstance(stream, ServiceStream) or self.now_s - stream.opened_s < _YOUNG_S:
            super()._reset_received(stream)

    def _open_stream(self, stream_id: int, fields: list[Field]) -> None:
        head = RequestHead(fields)
        if head.is_grpc:
            self.shrink_table()
            self._open_call(stream_id, head)
        else:
            is_head = head.http_method == "HEAD"
            desk = self._desk
            other = OtherStream(self, stream_id, desk.budget, head.content_length, is_head=is_head)
            other.set_limit(desk.clock.call_later(desk.limits.first_frame_timeout_s, other.time_is_up))
            self.streams[stream_id] = other

    def _open_unread(self, stream_id: int, *, is_last: bool) -> None:
        head = RequestHead.unread()
        stream = self._open_call(stream_id, head)
        if is_last and head.refusal is not None:
            stream.fail(head.refusal)

    def _open_call(self, stream_id: int, head: RequestHead) -> ServiceStream:
        desk = self._desk
        stream = ServiceStream(self, stream_id, desk.budget, head)
        self.streams[stream_id] = stream
        if head.timeout_s:
            stream.set_deadline(desk.clock.call_later(head.timeout_s, stream.deadline_met))
        desk.serve(stream)
        if head.timeout_s == 0:
            stream.deadline_met()
        return stream
