"""A node's half of a call: its answer, handed to the client's half; what it is sent waits here.

Guarantees: the node is granted what the client takes, less what waits for the client, at most 256 KiB; on a stream that
can be re-attached only whole messages go on to the client, and what the last one says of through_seq and acked_frame is
remembered; a message that has begun is granted in full, or one larger than the client's window would never be whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agentring.errors import MalformedAnswer
from agentring.http2.budget import Budget
from agentring.http2.frames import DEFAULT_WINDOW, Code
from agentring.http2.stream import Stream
from agentring.rpc.messages import Assembler
from router.relay.client_stream import ClientStream
from router.relay.grpc_framing import MARKED_PREFIXES, MARKS
from router.relay.response import Answer, reset_error

if TYPE_CHECKING:
    from router.relay.call import Call
    from router.relay.node_connection import NodeConnection

MAX_BUFFERED_BYTES = 256 << 10
MAX_ANSWER_BYTES = 8 << 20
_WORTH_BYTES: Final = 16 << 10
"""Less is not granted while the node has anything left."""
_LAST_KEPT_BYTES: Final = 256
_unpack_marks: Final = MARKS.unpack_from
_PREFIXES: Final = MARKED_PREFIXES


class NodeStream(Stream):
    """The stream between the router and a node."""

    __slots__ = ("_node", "assembler", "call", "client", "marked", "opened_s", "taken")

    def __init__(
        self,
        connection: NodeConnection,
        stream_id: int,
        budget: Budget,
        call: Call,
        client: ClientStream,
        *,
        marked: bool,
    ) -> None:
        """marked: its messages begin with through_seq and acked_frame."""
        super().__init__(connection, stream_id, DEFAULT_WINDOW, budget)
        self._node = connection
        self.opened_s = connection.now_s
        self.call = call
        self.client = client
        self.marked = marked
        self.taken = False
        """The node has taken the call: it has sent headers that do not end it."""
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
        if self.marked:
            if self.assembler or not self.taken or not payload.startswith(_PREFIXES[length]):
                self._receive_part(payload)
                return
            client.last = payload if length <= _LAST_KEPT_BYTES else payload[: MARKS.size]
            if client.kept.messages:
                client.acknowledge(_unpack_marks(payload)[1])
        elif not self.taken:
            self._break()
            return
        connection = client.connection
        if (
            client.queue is None
            and length <= client.window
            and length <= connection.send_window
            and not connection.held
        ):
            client.put(payload, length)  # as Stream.send does: this is the way of nearly every byte
        else:
            client.send(payload)
        if self.granted < self.low:
            self.replenish()

    def receive_answer(self, answer: Answer, end_stream: bool) -> None:
        """The node's headers, or with end_stream its trailers."""
        if self.taken:
            well_formed = answer.is_trailers
        else:
            informational = answer.http_status.startswith("1")
            if informational and not end_stream:
                return
            well_formed = bool(answer.http_status) and not informational
        if not well_formed:
            self._break()
        elif end_stream:
            self.receive_ended = True
            if self.taken:
                self.call.finished(answer)
            else:
                self.call.declined(answer)
        elif self.taken:
            self._break()
        else:
            self.taken = True
            self.call.accepted(answer)

    def receive_oversized(self, end_stream: bool) -> None:
        """Headers or trailers came that are too long to be read."""
        self.receive_ended = end_stream
        self.call.answer_metadata_too_large()

    def receive_end(self) -> None:
        """As Stream. An answer of gRPC ends with trailers."""
        self._break()

    def receive_reset(self, code: int) -> None:
        """As Stream."""
        self.drop_queue()
        if code == Code.REFUSED_STREAM:
            self.call.not_processed("refused")
        else:
            self.call.failed(reset_error(code))

    def connection_lost(self) -> None:
        """As Stream."""
        self.drop_queue()
        if self.connection.ended is None:
            self.call.not_processed("goaway")
        else:
            self.call.lost("connection")

    def broken(self) -> None:
        """As Stream."""
        self.connection.forget(self, peer_may_send=True)
        self.drop_queue()
        self.call.failed(MalformedAnswer())

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
            self._node.leave_stream(self)

    def _break(self) -> None:
        self.reset(Code.PROTOCOL_ERROR)
        self.call.failed(MalformedAnswer())

    def _receive_part(self, data: bytes) -> None:
        if not self.taken:
            self._break()
            return
        if self.assembler is None:
            self.assembler = Assembler(self.budget, self)
        for message in self.assembler.feed(data):
            if self.call.ended:
                return  # the process held too much, and this call had to go
            self._forward(message)
        if self.call.ended:
            return
        if self.assembler.body_bytes > MAX_ANSWER_BYTES:
            self.call.answer_too_large(MAX_ANSWER_BYTES)
        else:
            self.replenish()

    def _forward(self, message: bytes) -> None:
        client = self.client
        if len(message) >= MARKS.size:
            client.last = message[: MARKS.size]
            client.acknowledge(_unpack_marks(message)[1])
        client.send(message)
