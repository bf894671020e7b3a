"""A connection on which our own services are called. What it guarantees of HTTP/2 is ServerConnection's; a request that
is not gRPC is answered with HTTP status 415."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from agentring.http2.budget import Budget
from agentring.http2.hpack import Field
from agentring.http2.limits import Limits
from agentring.http2.server_connection import ServerConnection
from agentring.http2.stream import Stream
from agentring.http2.traffic import Traffic
from agentring.rpc.inbox import WINDOW
from agentring.rpc.late_heads import LateHeads
from agentring.rpc.non_grpc_stream import NonGrpcStream
from agentring.rpc.pacing import Pacing
from agentring.rpc.request_head import RequestHead
from agentring.rpc.service_stream import ServiceStream

_YOUNG_S: Final = 1.0

PING_INTERVAL_MS: Final = 500
"""What we say of it; Limits.pings permits many more."""


class ServerContext:
    """What all connections of a server share."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        budget: Budget,
        loop: asyncio.AbstractEventLoop,
        serve: Callable[[ServiceStream], None],
    ) -> None:
        """name: what we are, for clients; serve: starts the task of a call."""
        self.name = name
        self.limits = limits
        self.budget = budget
        self.loop = loop
        self.serve = serve
        self.late_heads = LateHeads(loop)
        self.traffic = Traffic()


class ServiceConnection(ServerConnection):
    """A connection that a client has made."""

    def __init__(self, context: ServerContext, now_s: float, wake: Callable[[], None]) -> None:
        """context: what all connections of the server share."""
        super().__init__(
            context.limits, WINDOW, context.traffic, now_s, wake, name=context.name, ping_interval_ms=PING_INTERVAL_MS
        )
        self._context = context
        self._pacing = Pacing()
        self._last_head: RequestHead | None = None

    def sent(self) -> None:
        """As SendSide."""
        super().sent()
        self._pacing.wrote()

    def resume(self) -> None:
        """As SendSide."""
        super().resume()
        self._pacing.wrote()

    def _reset_received(self, stream: Stream) -> None:
        # One that was there for a while did not come to be reset; a router's clients may all leave at the same time.
        if not isinstance(stream, ServiceStream) or self.now_s - stream.opened_s < _YOUNG_S:
            super()._reset_received(stream)

    def _open_stream(self, stream_id: int, fields: list[Field]) -> None:
        head = self._last_head = RequestHead(fields, self._last_head)
        if head.is_grpc:
            self.shrink_table()
            self._open_call(stream_id, head)
        else:
            is_head = head.http_method == "HEAD"
            context = self._context
            other = NonGrpcStream(self, stream_id, context.budget, head.content_length, is_head=is_head)
            other.set_limit(context.loop.call_later(context.limits.first_frame_timeout_s, other.time_is_up))
            self.streams[stream_id] = other

    def _open_unread(self, stream_id: int, *, is_last: bool) -> None:
        head = RequestHead.unread()
        stream = self._open_call(stream_id, head)
        if is_last and head.refusal is not None:
            stream.fail(head.refusal)

    def _open_call(self, stream_id: int, head: RequestHead) -> ServiceStream:
        context = self._context
        stream = ServiceStream(self, stream_id, context.budget, head, self._pacing, context.late_heads)
        self.streams[stream_id] = stream
        if head.timeout_s:
            stream.set_deadline(context.loop.call_later(head.timeout_s, stream.deadline_met))
        context.serve(stream)
        if head.timeout_s == 0:
            stream.deadline_met()
        return stream
