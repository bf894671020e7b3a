"""A client's connection: its calls come here. What it guarantees is ServerConnection's."""

from __future__ import annotations

from collections.abc import Callable

from agentring.errors import MetadataTooLarge
from agentring.http2.hpack import Field
from agentring.http2.server_connection import ServerConnection
from agentring.rpc.non_grpc_stream import NonGrpcStream
from router.relay.call import Call
from router.relay.client_stream import WINDOW, ClientStream
from router.relay.content_length_stream import ContentLengthStream
from router.relay.context import RelayContext
from router.relay.request import Request


class ClientConnection(ServerConnection):
    """A connection that a client has made."""

    def __init__(self, context: RelayContext, now_s: float, wake: Callable[[], None]) -> None:
        """context: what all calls of the process share."""
        super().__init__(context.limits, WINDOW, context.stats, now_s, wake, name="router")
        self._context = context
        self._last_request: Request | None = None

    def _open_stream(self, stream_id: int, fields: list[Field]) -> None:
        request = self._last_request = Request(fields, self._last_request)
        shared = request.shared
        if shared.is_grpc:
            self.shrink_table()
            self._open_call(stream_id, request).begin(request)
        else:
            is_head = shared.values[":method"] == "HEAD"
            context = self._context
            stream = NonGrpcStream(self, stream_id, context.budget, shared.content_length, is_head=is_head)
            stream.set_limit(context.clock.call_later(context.limits.first_frame_timeout_s, stream.time_is_up))
            self.streams[stream_id] = stream

    def _open_unread(self, stream_id: int, *, is_last: bool) -> None:
        call = self._open_call(stream_id, Request.unread())
        if is_last:
            call.fail(MetadataTooLarge())
        else:
            call.refuse(MetadataTooLarge())

    def _open_call(self, stream_id: int, request: Request) -> Call:
        shared, budget = request.shared, self._context.budget
        client: ClientStream
        if shared.content_length is None:
            client = ClientStream(self, stream_id, budget, shared.max_message_bytes)
        else:
            client = ContentLengthStream(self, stream_id, budget, shared.max_message_bytes, shared.content_length)
        self.streams[stream_id] = client
        call = client.call = Call(self._context, client, request)
        return call
