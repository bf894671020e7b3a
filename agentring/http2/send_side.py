"""One HTTP/2 connection as its streams see it: what is written, the windows that hold it back, and its end.

A state machine without a socket: `out` is what to write, and `wake` asks for that. Guarantees: streams that only the
connection holds back (its window is shut, or the socket is full) go on one frame each in turn, and no more of it in one
turn of the event loop than a socket takes; once it has ended, every stream has been told, and nothing is written any
more but what `out` has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

import structlog

from agentring.http2 import frames
from agentring.http2.frames import Code, ConnectionBroken, StreamBroken
from agentring.http2.limits import Bucket, Limits, TooMany
from agentring.http2.stream import Stream, StreamConnection

_log = structlog.get_logger()

_SMALL_BYTES: Final = 256
"""The Rust library h2 allows a connection so many bytes less than this, in all frames that its program has not read
yet: half its window, so a hundred frames where the window is the protocol's own."""
_MOST_SMALL_FRAMES: Final = 16
"""A PING is answered before the program has read what came before it: some such groups may be unread at a time."""
_LEAST_GROUPS: Final = 4
_WINDOW_BYTES_A_GROUP: Final = 16 << 10
"""So many bytes of the connection's window allow one more group in _READ_S: some 60 % of what h2 allows unread."""
_READ_S: Final = 0.1
"""A program that is kept from its processor for longer is rare; one that has not read at its PING's answer is not."""
CROWDED_PING: Final = b"crowded?"
_CROWDED_S: Final = 1.0
_EMPTY_TABLE: Final = b"\x20"
"""A header table of 0 bytes, RFC 7541 6.3: a peer that wants a smaller one is to be told, once, how small it is."""


class SendSide(StreamConnection):
    """The sending half of a connection."""

    role: ClassVar[str]

    def __init__(self, limits: Limits, now_s: float, wake: Callable[[], None]) -> None:
        """As StreamConnection."""
        super().__init__(now_s, wake)
        self.limits = limits
        self.paused = False
        """The socket takes no more for now."""
        self._small_frames = 0
        self._crowded_s: float | None = None
        self._groups = 0
        self._groups_since_s = now_s
        self._most_groups = _LEAST_GROUPS
        self.rest_s = 0.0
        """`crowd_read` is to be called in so many seconds, where it is not 0."""
        self._table_shrunk = False
        self.peer_max_frame_bytes = frames.MAX_FRAME_BYTES
        self.broken_for = ""
        """Why it was ended, for metric and log."""
        self.ping_sent_s: float | None = None
        self.unsent_replies = 0
        """Answers to PING and SETTINGS that were not written yet."""
        self.resets = Bucket("resets", limits.resets, now_s)

    def write_headers(self, stream_id: int, block: bytes, *, end_stream: bool) -> None:
        """As StreamConnection."""
        if self._table_shrunk:
            self._table_shrunk = False
            block = _EMPTY_TABLE + block
        self.write(frames.headers(stream_id, block, end_stream=end_stream, max_frame_bytes=self.peer_max_frame_bytes))

    def fail(self, broken: ConnectionBroken) -> None:
        """Ends the connection with GOAWAY."""
        if self.ended is not None:
            return
        self.broken_for = broken.what if isinstance(broken, TooMany) else broken.code.name.lower()
        _log.info("connection_broken", role=self.role, code=broken.code.name, why=broken.why)
        self.write(frames.goaway(self.last_peer_stream_id(), broken.code, broken.why))
        self.end(broken.code)

    def end(self, code: Code) -> None:
        """Nothing is read or written after this but what `out` has; every stream is told that it is lost."""
        if self.ended is not None:
            return
        # Invariant: every stream of a connection that ends learns it (tests/unit/router/relay/test_fuzz.py).
        self.ended = code
        self.blocked.clear()
        while self.streams:
            _, stream = self.streams.popitem()
            stream.connection_lost()

    def socket_lost(self) -> None:
        """The socket is gone."""
        self.out.clear()
        self.end(Code.NO_ERROR)

    def tick(self, now_s: float) -> None:
        """Once a second: what has taken too long ends."""
        raise NotImplementedError

    def sent(self) -> None:
        """`out` was written, and the socket takes more."""
        self.unsent_replies = 0
        self.unqueued_bytes = 0
        if self.blocked:
            self.unblock()

    def pause(self) -> None:
        """The socket's buffer is full."""
        self.paused = self.held = True

    def resume(self) -> None:
        """It is not any more."""
        self.paused = False
        self.held = self._crowded_s is not None
        self.unqueued_bytes = 0
        self.unblock()

    def count_frame(self, length: int) -> None:
        """A DATA frame is written to a peer that counts. After _MOST_SMALL_FRAMES small ones it is asked, by a PING,
        whether it is there, and after some such groups it is given time to read; what comes meanwhile waits in the
        streams' queues, and leaves in fewer frames."""
        if length < _SMALL_BYTES:
            self._small_frames += 1
            if self._small_frames == _MOST_SMALL_FRAMES:
                self._crowded_s = self.now_s
                self.held = True
                if self.now_s - self._groups_since_s >= _READ_S:
                    self._groups_since_s, self._groups = self.now_s, 0
                self._groups += 1
                self._most_groups = max(self._most_groups, self.send_window // _WINDOW_BYTES_A_GROUP)
                self.write(frames.ping(CROWDED_PING, ack=False))

    @property
    def is_crowded(self) -> bool:
        """The peer was asked whether it is there, and has not answered, or not had its time."""
        return self._crowded_s is not None

    def check_crowd(self, now_s: float) -> None:
        """Once a second: who does not answer is not waited for."""
        if self._crowded_s is not None and now_s - self._crowded_s > _CROWDED_S:
            self.crowd_read()

    def crowd_answered(self) -> None:
        """The peer has received the small frames. (That it has read them, nothing in the protocol says.)"""
        rest_s = self._groups_since_s + _READ_S - self.now_s
        if self._groups >= self._most_groups and rest_s > 0:
            self.rest_s = rest_s
            self.wake()
        else:
            self.crowd_read()

    def crowd_read(self) -> None:
        """The peer has read the small frames, or has had its time."""
        self._small_frames = 0
        self._crowded_s = None
        self.held = self.paused
        self.unblock()

    def unblock(self) -> None:
        """Streams that this connection held back go on, each in its turn with a frame."""
        blocked = self.blocked
        while blocked and self.send_window > 0 and self.takes_queued:
            stream = next(iter(blocked))
            del blocked[stream]
            if stream.send_queued(one_frame=True):
                blocked[stream] = None

    def forget(self, stream: Stream, *, peer_may_send: bool) -> None:
        """As StreamConnection."""
        if self.streams.pop(stream.id, None) is not None:
            if self.blocked:
                self.blocked.pop(stream, None)
            self._remember(stream.id, peer_may_send)

    def break_stream(self, stream_id: int, broken: StreamBroken) -> None:
        """As StreamConnection."""
        self.resets.take(self.now_s)
        self.write(frames.rst_stream(stream_id, broken.code))
        if (stream := self.streams.get(stream_id)) is not None:
            stream.broken()
        self._remember(stream_id, True)

    def send_ping(self, now_s: float) -> None:
        """Asks whether the peer is there; `heard_s` or `ping_sent_s` tells."""
        self.ping_sent_s = now_s
        self.write(frames.ping(b"alive?!\0", ack=False))

    def last_peer_stream_id(self) -> int:
        """The highest id of a stream that the peer has opened."""
        return 0

    def _remember(self, stream_id: int, peer_may_send: bool) -> None:
        """A stream has ended."""
