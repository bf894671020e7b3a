"""A node's half of a call: its response, passed to the client's half; what it is sent waits here.

Guarantees: the node is granted what the client takes, less what waits for the client, at most 256 KiB; on a stream that
can be re-attached only whole messages go on to the client, and what the last one says of through_seq and acked_frame is
remembered; a message that has begun is granted in full, or one larger than the client's window would never be whole.
"""

from __future__ import annotations

from typing import Final

from agentring.errors import MalformedAnswer
from agentring.http2.budget import Budget
from agentring.http2.connection import Connection
from agentring.http2.frames import DEFAULT_WINDOW, Code
from agentring.http2.stream import Stream
from agentring.rpc.messages import Assembler
from router.relay.call_events import CallEvents
from router.relay.client_stream import ClientStream
from router.relay.grpc_framing import MARKED_PREFIXES, MARKS
from router.relay.response import ResponseHead, reset_error

MAX_BUFFERED_BYTES: Final = 256 << 10
MAX_RESPONSE_BYTES: Final = 8 << 20
_WORTH_BYTES: Final = 16 << 10
"""Less is not granted while the node has anything left."""
_LAST_RESPONSE_BYTES: Final = 256
_unpack_marks: Final = MARKS.unpack_from
_PREFIXES: Final = MARKED_PREFIXES


class NodeStreamConnection(Connection):
    """What a node's stream needs of its connection. NodeConnection is one."""

    def abandon_stream(self, stream: NodeStream) -> None:
        """The call has ended or goes elsewhere, so the stream is reset."""
        raise NotImplementedError


class NodeStream(Stream):
    """The stream between the router and a node."""

    __slots__ = ("_node", "assembler", "call", "client", "is_accepted", "opened_s", "reattachable")

    def __init__(
        self,
        connection: NodeStreamConnection,
        stream_id: int,
        budget: Budget,
        call: CallEvents,
        client: ClientStream,
    ) -> None:
        """call: whose stream it is; client: where the response goes."""
        super().__init__(connection, stream_id, DEFAULT_WINDOW, budget)
        self._node = connection
        self.opened_s = connection.now_s
        self.call = call
        self.client = client
        self.reattachable = call.reattachable
        """Its messages begin with through_seq and acked_frame."""
        self.is_accepted = False
        """The node has accepted the call: it has sent headers that do not end it."""
        self.assembler: Assembler | None = None

    @property
    def heard_s(self) -> float:
        """When its node was heard last, on this stream or another of the connection."""
        return self._node.heard_s

    def receive_data(self, buffer: bytes, start: int, length: int) -> None:
        """As Stream."""
        self.granted -= length
        client = self.client
        payload = buffer[start : start + length]
        if self.reattachable:
            if self.assembler or not self.is_accepted or not payload.startswith(_PREFIXES[length]):
                self._receive_part(payload)
                return
            client.last_response = payload if length <= _LAST_RESPONSE_BYTES else payload[: MARKS.size]
            if client.replay.messages:
                client.acknowledge(_unpack_marks(payload)[1])
        elif not self.is_accepted:
            self._break()
            return
        connection = client.connection
        if (
            client.queue is None
            and length <= client.window
            and length <= connection.send_window
            and not connection.held
        ):
            client.put(payload, length)  # as Stream.send does: nearly every byte goes here
        else:
            client.send(payload)
        if self.granted < self.low:
            self.replenish()

    def receive_head(self, head: ResponseHead, end_stream: bool) -> None:
        """The node's headers, or with end_stream its trailers."""
        if self.is_accepted:
            well_formed = head.is_trailers
        else:
            informational = head.http_status.startswith("1")
            if informational and not end_stream:
                return
            well_formed = bool(head.http_status) and not informational
        if not well_formed:
            self._break()
        elif end_stream:
            self.receive_ended = True
            if self.is_accepted:
                self.call.finished(head)
            else:
                self.call.declined(head)
        elif self.is_accepted:
            self._break()
        else:
            self.is_accepted = True
            self.call.accepted(head)

    def receive_oversized(self, end_stream: bool) -> None:
        """Headers or trailers came that are too long to be read."""
        self.receive_ended = end_stream
        self.call.response_metadata_too_large()

    def receive_end(self) -> None:
        """As Stream. A response of gRPC ends with trailers."""
        self._break()

    def receive_reset(self, code: int) -> None:
        """As Stream."""
        self.drop_queue()
        if code == Code.REFUSED_STREAM:
            self.call.not_processed("refused")
        else:
            self.call.broken_off(reset_error(code))

    def connection_lost(self) -> None:
        """As Stream."""
        self.drop_queue()
        if self.connection.ended is None:
            self.call.not_processed("goaway")
        else:
            self.call.node_lost("connection")

    def broken(self) -> None:
        """As Stream."""
        self.connection.forget(self, peer_may_send=True)
        self.drop_queue()
        self.call.broken_off(MalformedAnswer())

    def shed(self) -> None:
        """As Stream."""
        self.call.shed()

    def replenish(self) -> None:
        """As Stream."""
        if self.granted < 0:
            self.check_granted()
            return
        client = self.client
        allowed = min(client.window, MAX_BUFFERED_BYTES) - client.queued_bytes
        if self.assembler:
            allowed = max(allowed, self.assembler.missing_bytes)
        # A client may open its window byte by byte, and so may many; that is not passed on to the node they share.
        increment = allowed - self.granted
        if increment >= _WORTH_BYTES or self.granted <= 0 < increment:
            self.grant(increment)
            increment = 0
        # Where the client takes more than was granted, nothing else will say when to grant again.
        is_more = increment > 0 or client.window > MAX_BUFFERED_BYTES or self.assembler
        self.low = (self.granted + 1) // 2 if is_more else 0

    def drained(self) -> None:
        """As Stream."""
        self.client.replenish()

    def sending_ended(self) -> None:
        """As Stream."""

    def release(self) -> None:
        """The call is over, or goes to another node."""
        if self.assembler is not None:
            self.assembler.clear()
            self.assembler = None
        if self.receive_ended and self.send_ended:
            self.drop_queue()
            self.connection.forget(self, peer_may_send=False)
        else:
            self.drop_queue()
            self._node.abandon_stream(self)

    def _break(self) -> None:
        self.reset(Code.PROTOCOL_ERROR)
        self.call.broken_off(MalformedAnswer())

    def _receive_part(self, data: bytes) -> None:
        if not self.is_accepted:
            self._break()
            return
        if self.assembler is None:
            self.assembler = Assembler(self.budget, self)
        # Invariant: only whole messages go on to the client (tests/unit/router/relay/test_reattach_stages.py).
        for message in self.assembler.feed(data):
            if self.call.ended:
                return  # the process held too much, and this call had to go
            self._forward(message)
        if self.call.ended:
            return
        if self.assembler.body_bytes > MAX_RESPONSE_BYTES:
            self.call.response_too_large(MAX_RESPONSE_BYTES)
        else:
            self.replenish()

    def _forward(self, message: bytes) -> None:
        client = self.client
        if len(message) >= MARKS.size:
            client.last_response = message[: MARKS.size]
            client.acknowledge(_unpack_marks(message)[1])
        client.send(message)
