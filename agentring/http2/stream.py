"""One stream of one connection: its sending half, with flow control, and what its receiving half must answer to.

Guarantees: what is sent keeps its order, and leaves in few frames where it leaves at once; nothing is sent beyond the
stream's window, the connection's window or while the socket is full, but waits here in a queue; a queue that only the
connection holds back gets its turn beside the other streams' (Connection.unblock). How long the queue may become is for
the other half of the call to say, which grants its sender no more than may wait (router/relay/client_stream.py,
router/relay/node_stream.py). Bytes that wait are counted in the process's Budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.frames import DATA_HEADS, WORD, Code, StreamBroken
from agentring.http2.peer import Peer
from agentring.http2.stream_events import StreamEvents

_MAX_UNQUEUED_BYTES: Final = 256 << 10
_HEADS: Final = DATA_HEADS
_TOGETHER_BYTES: Final = 4 << 10
"""So long may a frame become that several pieces are put into."""
_COPIED_BYTES: Final = 512
"""Likewise, where others' frames lie between, so that each piece is a copy of those before."""


class StreamConnection:
    """What a stream needs of its connection. SendSide is one."""

    def __init__(self, now_s: float, wake: Callable[[], None]) -> None:
        """wake: called when `out` was empty and no longer is."""
        self.now_s = now_s
        self.wake = wake
        self.peer = ""
        """From where it was made, `host:port`; empty: a unix socket."""
        self.peer_certificate: Peer | None = None
        """Whom the other end's certificate names, from before the first byte on; None: it has shown none."""
        self.out: list[bytes] = []
        self.streams: dict[int, Stream] = {}
        self.blocked: dict[Stream, None] = {}
        """Streams with something to send that only this connection holds back; in the order of their turns."""
        self.send_window = frames.DEFAULT_WINDOW
        self.peer_initial_window = frames.DEFAULT_WINDOW
        self.held = False
        """No DATA is sent now: the socket is full, or the peer has small frames enough to deal with."""
        self.unqueued_bytes = 0
        """How much in `out` had waited in streams' queues."""
        self.counts_frames = False
        """The peer ends connections for many small frames: see `count_frame`."""
        self.ended: Code | None = None
        """We have said GOAWAY for a fault, or the socket is gone: nothing is read or written any more."""

    def write(self, frame: bytes) -> None:
        """Puts a frame into `out`."""
        if self.ended is None:
            if not self.out:
                self.wake()
            self.out.append(frame)

    @property
    def takes_queued(self) -> bool:
        """What waits in streams' queues can be written now."""
        return not self.held and self.unqueued_bytes < _MAX_UNQUEUED_BYTES

    def write_headers(self, stream_id: int, block: bytes, *, end_stream: bool) -> None:
        """Puts a header block into `out`."""
        raise NotImplementedError

    def count_frame(self, length: int) -> None:
        """A DATA frame is written to a peer that counts."""
        raise NotImplementedError

    def break_stream(self, stream_id: int, broken: StreamBroken) -> None:
        """Resets a stream on which the peer has broken the protocol."""
        raise NotImplementedError

    def forget(self, stream: Stream, *, peer_may_send: bool) -> None:
        """The stream has ended; peer_may_send: what still comes on it is no fault."""
        raise NotImplementedError


class Stream(StreamEvents):
    """A stream. What it carries is for the derived classes to say: calls through a router (ClientStream, NodeStream),
    calls of our own services (ServiceStream), and what is no call (NonGrpcStream, AbandonedStream)."""

    __slots__ = (
        *("budget", "connection", "cut", "frame_bytes", "frame_head", "frame_index", "frame_tail", "granted", "id"),
        *("id_bytes", "low", "queue", "queued_bytes", "receive_ended", "send_ended", "trailers", "window"),
    )

    def __init__(self, connection: StreamConnection, stream_id: int, granted: int, budget: Budget) -> None:
        """granted: how many bytes the peer may send."""
        self.connection = connection
        self.id = stream_id
        self.id_bytes = WORD.pack(stream_id)
        self.budget = budget
        self.window = connection.peer_initial_window
        """How many bytes the peer takes."""
        self.granted = granted
        self.low = 0
        """`replenish` is called when `granted` falls below."""
        self.queue: list[bytes] | None = None
        self.queued_bytes = 0
        self.cut = False
        """The first piece of the queue is what is left of one."""
        self.frame_index = self.frame_tail = self.frame_bytes = 0
        self.frame_head = b""
        """The last DATA frame: where in `out` its head and its last piece are, how long it is, and what stands at its
        head's place until it is written."""
        self.trailers: bytes | None = None
        """A header block that follows the queue; empty: END_STREAM alone does."""
        self.send_ended = False
        self.receive_ended = False

    # The receiving half, called by the connection.

    def receive_padding(self, length: int) -> None:
        """Padding came, which counts on the window and is given back at once."""
        self.granted -= length
        self.grant(length)

    def grant(self, increment: int) -> None:
        """Lets the peer send more."""
        if increment > 0 and not self.receive_ended and self.connection.streams.get(self.id) is self:
            self.granted += increment
            self.connection.write(frames.window_update(self.id, increment))

    def check_granted(self) -> None:
        """Raises nothing: a peer that sent more than was granted loses the stream."""
        if self.granted < 0:
            self.connection.break_stream(self.id, StreamBroken(Code.FLOW_CONTROL_ERROR, "more DATA than was granted"))

    # The sending half.

    def send_headers(self, block: bytes) -> None:
        """Headers that do not end the stream. They never wait."""
        self.connection.write_headers(self.id, block, end_stream=False)

    def send(self, payload: bytes) -> None:
        """DATA, now or when the windows allow."""
        connection = self.connection
        length = len(payload)
        if (
            self.queue is None
            and length <= self.window
            and length <= connection.send_window
            and length <= frames.MAX_FRAME_BYTES
            and not connection.held
        ):
            if connection.ended is None:
                self.put(payload, length)
            return
        if self.queue is None:
            self.queue = []
            self.budget.stalled(self)
        self.queue.append(payload)
        self.queued_bytes += length
        self.budget.add(length)
        self.send_queued()

    def put(self, payload: bytes, length: int) -> None:
        """DATA that nothing holds back. What goes with the frame before into one write goes into that frame, up to a
        bound: a peer pays for each frame, and some end a connection for many small ones."""
        connection = self.connection
        self.window -= length
        connection.send_window -= length
        out, index, tail = connection.out, self.frame_index, self.frame_tail
        together = self.frame_bytes + length
        if together <= _TOGETHER_BYTES and tail < len(out) and out[index] is self.frame_head:
            is_last = tail + 1 == len(out)
            if is_last or together <= _COPIED_BYTES:
                if is_last:
                    self.frame_tail = tail + 1
                    out.append(payload)
                else:
                    out[tail] += payload
                self.frame_bytes = together
                self.frame_head = head = _HEADS[together] + self.id_bytes
                out[index] = head
                return
        if not out:
            connection.wake()
        self.frame_index = index = len(out)
        self.frame_tail = index + 1
        self.frame_bytes = length
        self.frame_head = head = _HEADS[length] + self.id_bytes
        out.append(head)
        out.append(payload)
        if connection.counts_frames:
            connection.count_frame(length)

    def send_end(self, trailers: bytes) -> None:
        """Ends our side, after what waits: with a header block, or with END_STREAM alone where that is empty."""
        self.trailers = trailers
        if self.queue is None:
            self._send_trailers()

    def send_queued(self, *, one_frame: bool = False) -> bool:
        """Sends what the windows allow. True: only the connection holds the rest back."""
        connection = self.connection
        queue = self.queue
        if queue is None or connection.ended is not None:
            return False
        sent_bytes = 0
        index = 0
        while index < len(queue) and connection.takes_queued:
            payload = queue[index]
            room = min(self.window, connection.send_window, frames.MAX_FRAME_BYTES)
            if room <= 0 and payload:
                break
            length = len(payload)
            self.cut = length > room
            if self.cut:
                payload, queue[index] = payload[:room], payload[room:]
                length = room
            else:
                first = index
                index += 1
                while index < len(queue) and length + len(queue[index]) <= room:
                    length += len(queue[index])
                    index += 1
                if index - first > 1:
                    payload = b"".join(queue[first:index])
            self.window -= length
            connection.send_window -= length
            sent_bytes += length
            connection.unqueued_bytes += length
            connection.write(DATA_HEADS[length] + self.id_bytes + payload)
            if connection.counts_frames:
                connection.count_frame(length)
            # Invariant: what comes does not overtake this (tests/unit/router/relay/test_small_frames.py).
            self.frame_head = b""
            if one_frame:
                break
        del queue[:index]
        self.queued_bytes -= sent_bytes
        self.budget.add(-sent_bytes)
        if not queue:
            self.queue = None
            self.budget.flows(self)
            connection.blocked.pop(self, None)
            if self.trailers is not None:
                self._send_trailers()
        if sent_bytes:
            self.drained()
        if self.queue is None or self.window <= 0:
            return False
        if not one_frame:
            connection.blocked[self] = None
        return True

    def add_window(self, increment: int) -> None:
        """The peer takes more; or less, where its INITIAL_WINDOW_SIZE has shrunk."""
        self.window += increment
        if self.queue is not None and self.window > 0:
            self.send_queued()

    def reset(self, code: Code) -> None:
        """Ends the stream at once, both ways."""
        self.drop_queue()
        if self.connection.streams.get(self.id) is self:
            self.connection.write(frames.rst_stream(self.id, code))
            self.connection.forget(self, peer_may_send=True)

    def drop_queue(self) -> None:
        """What waits is not sent any more."""
        if self.queue is not None:
            self.budget.add(-self.queued_bytes)
            self.budget.flows(self)
            self.queue = None
            self.queued_bytes = 0
            self.connection.blocked.pop(self, None)

    def _send_trailers(self) -> None:
        assert self.trailers is not None
        if self.trailers:
            self.connection.write_headers(self.id, self.trailers, end_stream=True)
        elif (index := self.frame_index) < len(out := self.connection.out) and out[index] is self.frame_head:
            # Nothing of the stream comes after it, so the last DATA frame, which is not written yet, ends it.
            out[index] = frames.HEAD.pack(self.frame_bytes << 8 | frames.DATA, frames.END_STREAM, self.id)
            self.frame_head = b""
        else:
            self.connection.write(frames.data(self.id, b"", end_stream=True))
        self.send_ended = True
        self.trailers = None
        self.sending_ended()
