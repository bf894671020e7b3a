"""The server's end of a connection: clients open streams on it.

Guarantees, beside Connection's: at most max_streams streams at once, others get REFUSED_STREAM; a client that resets
streams, sends PING, SETTINGS or frames without purpose faster than the limits loses the connection with
ENHANCE_YOUR_CALM; one that does not begin with the preface and SETTINGS in time, does not come to the end of a header
block, does not answer a PING, or has had no stream for idle_timeout_s is let go. What a stream is, is for the derived
class to say (`_open_stream`): the router's ClientConnection, and a process's own services' ServiceConnection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from agentring.http2 import frames
from agentring.http2.connection import Connection
from agentring.http2.frames import Code, ConnectionBroken, Setting, StreamBroken
from agentring.http2.hpack import Field, FieldReader
from agentring.http2.limits import Limits, TooMany
from agentring.http2.stream import Stream
from agentring.http2.traffic import Traffic

_CLOSED_REMEMBERED: Final = 256
_COUNTS_FRAMES: Final = "tonic/"
"""In the user-agent of clients on the Rust library h2, which is the one that does (send_side.py)."""
_DRAIN_PING: Final = b"draining"
_HEADERS_KIND: Final = bytes([frames.HEADERS])


class ServerConnection(Connection):
    """A connection that a client has made."""

    role: ClassVar[str] = "client"

    def __init__(
        self,
        limits: Limits,
        window: int,
        traffic: Traffic,
        now_s: float,
        wake: Callable[[], None],
        *,
        name: str,
        ping_interval_ms: int = 0,
    ) -> None:
        """Sends our SETTINGS at once. window: what a stream may send at first; name: what we are, for the client;
        ping_interval_ms: what is said of PINGs; 0: nothing."""
        super().__init__(limits, now_s, wake)
        self.name = name
        self._traffic = traffic
        self._fields = FieldReader(max_list_bytes=limits.max_header_block_bytes, dynamic=True)
        self._settings_sent = 1
        self._settings_acks = 0
        self._closed: dict[int, bool] = {}
        """Streams that ended lately, and whether the client may still send on them without a fault."""
        self._last_stream_id = 0
        self._preface_seen = False
        self._accepts_through = frames.MAX_STREAM_ID
        self._draining = self._half_closed = False
        self._draining_for = ""
        self._opened_s = self._idle_since_s = self._block_since_s = now_s
        self._block_after = 0
        settings = {
            Setting.MAX_CONCURRENT_STREAMS: limits.max_streams,
            Setting.INITIAL_WINDOW_SIZE: window,
            Setting.MAX_HEADER_LIST_SIZE: limits.max_header_block_bytes,
        }
        if ping_interval_ms:
            settings[Setting.PING_INTERVAL_MS] = ping_interval_ms
        self.open(settings)

    # What the derived classes say.

    def _open_stream(self, stream_id: int, fields: list[Field]) -> None:
        """Puts a new stream into `streams`. Raises StreamBroken where the fields are no request's."""
        raise NotImplementedError

    def _open_unread(self, stream_id: int, *, is_last: bool) -> None:
        """Puts a stream into `streams` whose headers are too long to be read. is_last: nothing that follows it can be
        read either, so it is to be answered at once."""
        raise NotImplementedError

    def drain(self, why: str = "") -> None:
        """Asks the client to open no more streams here; what it opens until it has read that is still served. why: for
        people; default: that the process stops."""
        self._draining = True
        self._draining_for = why or f"the {self.name} is stopping"
        self.write(frames.goaway(frames.MAX_STREAM_ID, Code.NO_ERROR, self._draining_for))
        self.write(frames.ping(_DRAIN_PING, ack=False))

    def peer_ended(self) -> bool:
        """As Connection. A client may end its side once it has asked for all. One that has left looks the same until
        its machine answers to something that was written, so there is something at once, and then again (`probe`)."""
        if self.ended is not None:
            return False
        for stream in list(self.streams.values()):
            if not stream.receive_ended and self.streams.get(stream.id) is stream:
                self.forget(stream, peer_may_send=False)
                stream.connection_lost()
        if not self.streams:
            return False
        self._half_closed = True
        self._accepts_through = self._last_stream_id
        self.write(frames.goaway(self._last_stream_id, Code.NO_ERROR, "nothing more comes"))
        return True

    def _tick_half_closed(self) -> None:
        if any(stream.queue is not None and stream.window <= 0 for stream in self.streams.values()) or (
            self.blocked and self.send_window <= 0
        ):
            self.broken_for = "windows that nobody opens"
            self.end(Code.NO_ERROR)
        else:
            self.probe()

    def probe(self) -> None:
        """Writes something that asks for no answer, which a client that has ended its side could not give."""
        self.write(frames.window_update(0, 1))

    def stop(self) -> None:
        """Ends it for good."""
        why = f"the {self.name} has stopped"
        self.write(frames.goaway(self.last_peer_stream_id(), Code.NO_ERROR, why))
        self.end(Code.NO_ERROR)

    def shrink_table(self) -> None:
        """Asks the client to do without a header table, once. Not before there is something to gain by it: a client
        that has no call for us may have read our SETTINGS, which is all that some wait for, without caring for a change
        of its tables."""
        if self._settings_sent == 1:
            self._settings_sent = 2
            self.write(frames.settings({Setting.HEADER_TABLE_SIZE: 0}))

    def tick(self, now_s: float) -> None:
        """Ends the connection if it has been silent or without a stream for too long; now and then asks for a sign."""
        if self.ended is not None:
            return
        self.check_crowd(now_s)
        if self._half_closed:
            self._tick_half_closed()
            return
        limits = self.limits
        if not self._settings_seen:
            if now_s - self._opened_s > limits.first_frame_timeout_s:
                self.broken_for = "preface timeout"
                self.write(frames.goaway(0, Code.SETTINGS_TIMEOUT, "no preface or SETTINGS came"))
                self.end(Code.SETTINGS_TIMEOUT)
            return
        if not (self._block_begun() and self._block_after == self._last_stream_id):
            self._block_since_s, self._block_after = now_s, self._last_stream_id
        elif now_s - self._block_since_s > limits.first_frame_timeout_s:
            self.fail(TooMany("seconds for a header block"))
            return
        if self.streams:
            self._idle_since_s = now_s
        elif now_s - self._idle_since_s > limits.idle_timeout_s:
            self.broken_for = "idle"
            self.write(frames.goaway(self._last_stream_id, Code.NO_ERROR, "idle"))
            self.end(Code.NO_ERROR)
            return
        if self.ping_sent_s is not None:
            if self.heard_s > self.ping_sent_s:
                self.ping_sent_s = None
            elif now_s - self.ping_sent_s > limits.keepalive_timeout_s:
                self.broken_for = "keepalive timeout"
                self.end(Code.NO_ERROR)
        elif now_s - self.heard_s > limits.keepalive_s:
            self.send_ping(now_s)

    def _begin(self, data: bytes) -> int:
        if self._preface_seen:
            return 0
        seen = data[: len(frames.PREFACE)]
        if not frames.PREFACE.startswith(seen):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "the preface of HTTP/2 is missing")
        if len(seen) < len(frames.PREFACE):
            return -1
        self._preface_seen = True
        return len(frames.PREFACE)

    def _settings_acknowledged(self) -> None:
        self._settings_acks += 1
        if self._settings_acks > self._settings_sent:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "SETTINGS were acknowledged that were not sent")
        if self._settings_acks == 2:
            self._fields.end_dynamic()

    def _ping_answered(self, payload: bytes) -> None:
        """The client has read that we are stopping: what it opens from now on is refused."""
        if payload == _DRAIN_PING and self._draining:
            self._accepts_through = self._last_stream_id
            self.write(frames.goaway(self._last_stream_id, Code.NO_ERROR, self._draining_for))
            self._end_if_drained()

    def _end_if_drained(self) -> None:
        if not self.streams and self._accepts_through <= self._last_stream_id:
            self.end(Code.NO_ERROR)

    def _block_begun(self) -> bool:
        """A part of a header block has come, or of its frame."""
        return self._block is not None or self._rest[3:4] == _HEADERS_KIND

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self._last_stream_id or not stream_id & 1

    def last_peer_stream_id(self) -> int:
        return min(self._last_stream_id, self._accepts_through)

    def _goaway(self, last_stream_id: int) -> None:
        """The client opens no more streams; those that it has are served to their end."""

    def _remember(self, stream_id: int, peer_may_send: bool) -> None:
        closed = self._closed
        closed[stream_id] = peer_may_send
        if len(closed) > _CLOSED_REMEMBERED:
            del closed[next(iter(closed))]
        if self._draining or self._half_closed:
            self._end_if_drained()

    def _on_closed(self, stream_id: int) -> None:
        super()._on_closed(stream_id)
        if not self._closed.get(stream_id, True):
            raise StreamBroken(Code.STREAM_CLOSED, "the stream has ended")

    def _reset_received(self, stream: Stream) -> None:
        self.resets.take(self.now_s)

    def _headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        try:
            fields = self._fields.read(block)
        except StreamBroken:
            if stream_id not in self.streams:
                self._opens(stream_id)  # what follows on it is no fault
            raise
        if (stream := self.streams.get(stream_id)) is not None:
            if stream.receive_ended:
                raise StreamBroken(Code.STREAM_CLOSED, "HEADERS after END_STREAM")
            if not end_stream or any(field.kind == "pseudo" for field in fields):
                raise StreamBroken(Code.PROTOCOL_ERROR, "these are no trailers")
            stream.receive_end()
        elif self._opens(stream_id):
            if stream_id == 1:
                self.counts_frames = any(
                    field.name == "user-agent" and _COUNTS_FRAMES in field.value for field in fields
                )
            self._open_stream(stream_id, fields)
            self._end_opening(stream_id, end_stream)

    def _oversized_headers(self, stream_id: int, end_stream: bool) -> None:
        if stream_id not in self.streams and self._opens(stream_id):
            is_last = self._fields.dynamic
            self._open_unread(stream_id, is_last=is_last)
            if not is_last:
                self._end_opening(stream_id, end_stream)
                return
        super()._oversized_headers(stream_id, end_stream)  # what follows could not be read without it

    def _opens(self, stream_id: int) -> bool:
        """Whether HEADERS open a stream; else they are to be ignored. Raises ConnectionBroken, StreamBroken."""
        if not stream_id & 1:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "clients' streams have odd ids")
        if stream_id <= self._last_stream_id:
            if stream_id not in self._closed:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "stream ids must grow")
            if not self._closed[stream_id]:
                raise ConnectionBroken(Code.STREAM_CLOSED, "the stream has ended")
            self._idle_frames.take(self.now_s)
            return False
        self._last_stream_id = stream_id
        if len(self.streams) >= self.limits.max_streams or stream_id > self._accepts_through:
            self._traffic.streams_refused += 1
            raise StreamBroken(Code.REFUSED_STREAM, "too many streams")
        return True

    def _end_opening(self, stream_id: int, end_stream: bool) -> None:
        if end_stream and (stream := self.streams.get(stream_id)) is not None:
            stream.receive_end()
