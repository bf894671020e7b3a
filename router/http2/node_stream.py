"""A node's half of a call: its answer, handed to the client's half; what it is sent waits here.

Guarantees: the node is granted what the client takes, less what waits for the client, at most 256 KiB; on a stream that
can be re-attached only whole messages go on to the client, and what the last one says of through_seq and acked_frame is
remembered; a message that has begun is granted in full, or one larger than the client's window would never be whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from router.http2.budget import Budget
from router.http2.client_stream import ClientStream
from router.http2.frames import DEFAULT_WINDOW, HEAD, Code
from router.http2.headers import Field
from router.http2.messages import MARKS, MARKS_BYTES, PREFIX, PREFIX_BYTES, Assembler
from router.http2.stream import Stream

if TYPE_CHECKING:
    from router.http2.call import Call
    from router.http2.connection import Connection

MAX_BUFFERED_BYTES = 256 << 10
MAX_ANSWER_BYTES = 8 << 20
_unpack_prefix = PREFIX.unpack_from
_unpack_marks = MARKS.unpack_from
_pack_head = HEAD.pack


class NodeStream(Stream):
    """The stream between the router and a node."""

    __slots__ = ("assembler", "call", "client", "held", "marked")

    def __init__(
        self, connection: Connection, stream_id: int, budget: Budget, call: Call, client: ClientStream, *, marked: bool
    ) -> None:
        """marked: its messages begin with through_seq and acked_frame."""
        super().__init__(connection, stream_id, DEFAULT_WINDOW, budget)
        self.call = call
        self.client = client
        self.marked = marked
        self.held: Sequence[Field] | None = ()
        """Its headers, as long as they do not say whether it takes the call; None: it has taken it."""
        self.assembler: Assembler | None = None

    def receive_data(self, buffer: bytes, start: int, length: int) -> None:
        """As Stream."""
        self.granted -= length
        client = self.client
        if self.marked:
            if (
                self.assembler
                or length < MARKS_BYTES
                or _unpack_prefix(buffer, start)[1] != length - PREFIX_BYTES
                or self.held is not None
            ):
                self._receive_part(buffer[start : start + length])
                return
            _, client.through_seq, _, acked = _unpack_marks(buffer, start + PREFIX_BYTES)
            if acked > client.acked_frame:
                self._acked(acked)
        elif self.held is not None:
            self._accept()
            if self.call.ended:
                return
        connection = client.connection
        if (
            client.queue is None
            and length <= client.window
            and length <= connection.send_window
            and not connection.paused
        ):
            client.window -= length
            connection.send_window -= length
            out = connection.out
            if not out:
                connection.wake()
            out.append(_pack_head(length << 8, 0, client.id))
            out.append(buffer[start : start + length])
        else:
            client.send(buffer[start : start + length])
        if self.granted < self.low:
            self.replenish()

    def receive_headers(self, fields: Sequence[Field], *, end_stream: bool) -> None:
        """The node's answer begins, or ends."""
        if end_stream:
            self.receive_ended = True
            if self.held is not None:
                self.call.declined(self.held, fields)
            else:
                self.call.finished(fields)
        elif self.held != ():
            self._break()
        else:
            self.held = fields
            if self.call.is_acceptance(fields):
                self._accept()

    def receive_end(self) -> None:
        """As Stream. An answer of gRPC ends with trailers."""
        self._break()

    def receive_reset(self, code: int) -> None:
        """As Stream."""
        self.drop_queue()
        self.call.broken_off(processed=code != Code.REFUSED_STREAM)

    def connection_lost(self) -> None:
        """As Stream."""
        self.drop_queue()
        self.call.broken_off(processed=False)

    def broken(self) -> None:
        """As Stream."""
        self.connection.forget(self, peer_may_send=True)
        self.drop_queue()
        self.call.broken_off(processed=True)

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
        self.grant(allowed - self.granted)
        # Where the client takes more than that, nothing else will say when to grant again.
        self.low = self.granted // 2 if client.window > MAX_BUFFERED_BYTES or self.assembler else 0

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
            self.reset(Code.CANCEL)

    def _break(self) -> None:
        self.reset(Code.PROTOCOL_ERROR)
        self.call.broken_off(processed=True)

    def _accept(self) -> None:
        if not self.held:
            self._break()
            return
        held, self.held = self.held, None
        self.call.accepted(held)

    def _receive_part(self, data: bytes) -> None:
        if self.held is not None:
            self._accept()
            if self.call.ended:
                return
        if self.assembler is None:
            self.assembler = Assembler(self.budget, self)
        for message in self.assembler.feed(data):
            self._forward(message)
        if self.assembler.body_bytes > MAX_ANSWER_BYTES:
            self.call.answer_too_large()
        else:
            self.replenish()

    def _forward(self, message: bytes) -> None:
        client = self.client
        if len(message) >= MARKS_BYTES:
            _, client.through_seq, _, acked = _unpack_marks(message, PREFIX_BYTES)
            self._acked(acked)
        client.send(message)

    def _acked(self, acked: int) -> None:
        client = self.client
        client.acked_frame = acked
        if client.kept is not None:
            client.kept.drop(acked)
            if client.granted < client.low:
                client.replenish()
