"""A client's connection: its calls come here. What it guarantees is ServerConnection's."""

from __future__ import annotations

from collections.abc import Callable

from agentring.errors import MetadataTooLarge
from agentring.http2.hpack import Field
from agentring.http2.server_connection import ServerConnection
from agentring.rpc.non_grpc_stream import NonGrpcStream
from router.relay.call import Call
from router.relay.client_stream import WINDOW, ClientStream
from router.relay.context import RelayContext
from router.relay.measured_stream import MeasuredStream
from router.relay.request import Request


class ClientConnection(ServerConnection):
    """A connection that a client has made."""

    def __init__(self, carrier: RelayContext, now_s: float, wake: Callable[[], None]) -> None:
        """carrier: what all calls of the process share."""
        super().__init__(carrier.limits, WINDOW, carrier.stats, now_s, wake, name="router")
        self._carrier = carrier
        self._last_request: Request | None = None

    def _open_stream(self, stream_id: int, fields: list[Field]) -> None:
        request = self._last_request = Request(fields, self._last_request)
        form = request.form
        if form.is_grpc:
            self.shrink_table()
            self._open_call(stream_id, request).begin(request)
        else:
            is_head = form.values[":method"] == "HEAD"
            carrier = self._carrier
            other = NonGrpcStream(self, stream_id, carrier.budget, form.content_length, is_head=is_head)
            other.set_limit(carrier.call_later(carrier.first_frame_timeout_s, other.time_is_up))
            self.streams[stream_id] = other

    def _open_unread(self, stream_id: int, *, is_last: bool) -> None:
        call = self._open_call(stream_id, Request.unread())
        if is_last:
            call.fail(MetadataTooLarge())
        else:
            call.refuse(MetadataTooLarge())

    def _open_call(self, stream_id: int, request: Request) -> Call:
        form, budget = request.form, self._carrier.budget
        client: ClientStream
        if form.content_length is None:
            client = ClientStream(self, stream_id, budget, form.max_message_bytes)
        else:
            client = MeasuredStream(self, stream_id, budget, form.max_message_bytes, form.content_length)
        self.streams[stream_id] = client
        call = client.call = Call(self._carrier, client, request)
        return call
