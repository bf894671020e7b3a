"""One HTTP/2 connection, the part that both roles share: frames in, frames out, settings, windows, header blocks.

A state machine without a socket: `receive` takes what was read, `out` is what to write. Guarantees: whatever is
received, `receive` does not raise; a peer that breaks the protocol is told so with GOAWAY and is not listened to any
more. What stays in memory is bounded: an incomplete frame (16 KiB), an incomplete header block (max_header_block_bytes)
and what streams keep (stream.py). Connection windows are hop by hop and always topped up; it is the streams' windows
that hold a sender back.

DATA frames, nearly all that comes, are handled in the loop of `receive` itself; the rest goes through `_frame`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import structlog

from router.http2 import frames
from router.http2.frames import HEAD, Code, ConnectionBroken, Setting, StreamBroken
from router.http2.limits import Bucket, Limits, TooMany
from router.http2.stream import Stream

_log = structlog.get_logger()

_RECEIVE_WINDOW = 1 << 24
_MAX_LENGTH = frames.MAX_FRAME_BYTES
_MAX_UNSENT_REPLIES = 1_000
"""Answers to PING and SETTINGS that a peer which does not read may make us hold."""


class Connection:
    """What a client's and a node's connection have in common."""

    role: ClassVar[str]

    def __init__(self, limits: Limits, now_s: float, wake: Callable[[], None]) -> None:
        """wake: called when `out` was empty and no longer is."""
        self.limits = limits
        self.wake = wake
        self.out: list[bytes] = []
        self.streams: dict[int, Stream] = {}
        self.blocked: dict[Stream, None] = {}
        """Streams with something to send that only this connection holds back; in the order of their turns."""
        self.send_window = frames.DEFAULT_WINDOW
        self.paused = False
        """The socket takes no more for now."""
        self.peer_initial_window = frames.DEFAULT_WINDOW
        self.peer_max_frame_bytes = frames.MAX_FRAME_BYTES
        self.ended: Code | None = None
        """We have said GOAWAY for a fault, or the socket is gone: nothing is read or written any more."""
        self.now_s = now_s
        self.heard_s = now_s
        self.ping_sent_s: float | None = None
        self.broken_for = ""
        """Why it was ended, for metric and log."""
        self._rest = b""
        self._receive_window = frames.DEFAULT_WINDOW
        self._block: bytearray | None = None
        self._block_stream_id = 0
        self._block_flags = 0
        self._block_oversized = False
        """It is longer than the limit, and what it says is dropped."""
        self._continuations = 0
        self._settings_seen = False
        self._unsent_replies = 0
        self._windows_granted = frames.DEFAULT_WINDOW
        self._data_sent_at_ping = 0
        self._pings = Bucket("pings", limits.pings, now_s)
        self._settings = Bucket("settings", limits.settings, now_s)
        self._idle_frames = Bucket("idle frames", limits.idle_frames, now_s)
        self.resets = Bucket("resets", limits.resets, now_s)

    def write(self, frame: bytes) -> None:
        """Puts a frame into `out`."""
        if self.ended is None:
            if not self.out:
                self.wake()
            self.out.append(frame)

    def open(self, settings: dict[Setting, int]) -> None:
        """Sends our SETTINGS and opens the connection's window."""
        self.write(frames.settings(settings) + frames.window_update(0, _RECEIVE_WINDOW - self._receive_window))
        self._receive_window = _RECEIVE_WINDOW

    def receive(self, data: bytes, now_s: float) -> None:
        """Handles what was read; now_s: on a monotonic clock."""
        self.now_s = self.heard_s = now_s
        if self._rest:
            data = self._rest + data
            self._rest = b""
        received_bytes = 0
        streams = self.streams
        unpack = HEAD.unpack_from
        try:
            pos, end = self._begin(data), len(data)
            if pos < 0:
                self._rest = data
                return
            plain = self._block is None
            while end - pos >= 9:
                head, flags, stream_id = unpack(data, pos)
                start = pos + 9
                length = head >> 8
                if length > _MAX_LENGTH:
                    raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "a frame is longer than was agreed")
                after = start + length
                if after > end:
                    break
                pos = after
                if not head & 0xFF:
                    received_bytes += length
                    if not flags and length and plain and stream_id in streams:
                        streams[stream_id].receive_data(data, start, length)
                        continue
                self._frame(head & 0xFF, flags, stream_id & frames.MAX_STREAM_ID, data[start:after])
                if self.ended is not None:
                    return
                plain = self._block is None
            self._rest = data[pos:]
            if received_bytes:
                self._received(received_bytes)
        except ConnectionBroken as broken:
            self.fail(broken)
        except Exception:
            _log.exception("connection_failed", role=self.role)
            self.fail(ConnectionBroken(Code.INTERNAL_ERROR, "internal error"))

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
        self.ended = code
        self._rest = b""
        self._block = None
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
        """`out` was written."""
        self._unsent_replies = 0

    def pause(self) -> None:
        """The socket's buffer is full."""
        self.paused = True

    def resume(self) -> None:
        """It is not any more."""
        self.paused = False
        self.unblock()

    def unblock(self) -> None:
        """Streams that this connection held back go on, each in its turn with a frame."""
        blocked = self.blocked
        while blocked and self.send_window > 0 and not self.paused:
            stream = next(iter(blocked))
            del blocked[stream]
            if stream.send_queued(one_frame=True):
                blocked[stream] = None

    def forget(self, stream: Stream, *, peer_may_send: bool) -> None:
        """The stream has ended; peer_may_send: what still comes on it is no fault."""
        if self.streams.pop(stream.id, None) is not None:
            if self.blocked:
                self.blocked.pop(stream, None)
            self._remember(stream.id, peer_may_send)

    def send_ping(self, now_s: float) -> None:
        """Asks whether the peer is there; `heard_s` or `ping_sent_s` tells."""
        self.ping_sent_s = now_s
        self.write(frames.ping(b"alive?!\0", ack=False))

    # What the two roles do their own way.

    def _begin(self, data: bytes) -> int:
        """Where the first frame begins, after a client's preface; below 0: that is not complete."""
        return 0

    def _headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def _remember(self, stream_id: int, peer_may_send: bool) -> None:
        """A stream has ended."""

    def _oversized_headers(self, stream_id: int, end_stream: bool) -> None:
        """A header block came that is too long to be read."""
        raise TooMany("header bytes")

    def _goaway(self, last_stream_id: int) -> None:
        raise NotImplementedError

    def _is_idle(self, stream_id: int) -> bool:
        """Whether no stream of this id was ever opened."""
        raise NotImplementedError

    def last_peer_stream_id(self) -> int:
        return 0

    def _settings_acknowledged(self) -> None:
        raise NotImplementedError

    def _peer_settings_changed(self) -> None:
        """After the peer's SETTINGS were applied."""

    def _setting(self, name: int, value: int) -> None:
        """A setting that only one role reads."""

    # Frames.

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block_stream_id):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "a header block is interrupted")
        if not self._settings_seen and kind != frames.SETTINGS:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind < len(_HANDLERS):
            try:
                _HANDLERS[kind](self, flags, stream_id, payload)
            except StreamBroken as broken:
                self.break_stream(stream_id, broken)
        else:
            self._idle_frames.take(self.now_s)

    def break_stream(self, stream_id: int, broken: StreamBroken) -> None:
        self.resets.take(self.now_s)
        self.write(frames.rst_stream(stream_id, broken.code))
        if (stream := self.streams.get(stream_id)) is not None:
            stream.broken()
        self._remember(stream_id, True)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "DATA without a stream")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._on_closed(stream_id)
            return
        if flags & frames.PADDED:
            payload = _unpadded(payload, padding_counts := len(payload))
            stream.receive_padding(padding_counts - len(payload))
        if not payload and not flags & frames.END_STREAM:
            self._idle_frames.take(self.now_s)
        if payload:
            stream.receive_data(payload, 0, len(payload))
        if flags & frames.END_STREAM and self.streams.get(stream_id) is stream:
            stream.receive_end()

    def _on_closed(self, stream_id: int) -> None:
        if self._is_idle(stream_id):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "a frame of a stream that was not opened")
        self._idle_frames.take(self.now_s)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "HEADERS without a stream")
        if flags == frames.END_HEADERS or flags == frames.END_HEADERS | frames.END_STREAM:
            self._headers(stream_id, payload, bool(flags & frames.END_STREAM))
            return
        if flags & frames.PADDED:
            payload = _unpadded(payload, len(payload))
        self_dependent = False
        if flags & frames.WITH_PRIORITY:
            if len(payload) < 5:
                raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "HEADERS are too short")
            self_dependent = frames.WORD.unpack_from(payload)[0] & frames.MAX_STREAM_ID == stream_id
            payload = payload[5:]
        self._block = bytearray(payload)
        self._block_oversized = False
        self._block_stream_id, self._block_flags, self._continuations = stream_id, flags, 0
        if flags & frames.END_HEADERS:
            self._end_headers()
        if self_dependent:
            raise StreamBroken(Code.PROTOCOL_ERROR, "a stream depends on itself")

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._continuations += 1
        if self._continuations > self.limits.max_continuations:
            raise TooMany("continuations")
        if len(self._block) + len(payload) > self.limits.max_header_block_bytes:
            self._block_oversized = True
        else:
            self._block += payload
        if flags & frames.END_HEADERS:
            self._end_headers()

    def _end_headers(self) -> None:
        assert self._block is not None
        block, self._block = bytes(self._block), None
        end_stream = bool(self._block_flags & frames.END_STREAM)
        if self._block_oversized:
            self._oversized_headers(self._block_stream_id, end_stream)
        else:
            self._headers(self._block_stream_id, block, end_stream)

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "PRIORITY without a stream")
        if len(payload) != 5:
            raise StreamBroken(Code.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")
        if frames.WORD.unpack_from(payload)[0] & frames.MAX_STREAM_ID == stream_id:
            raise StreamBroken(Code.PROTOCOL_ERROR, "a stream depends on itself")
        self._idle_frames.take(self.now_s)

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        if stream_id == 0 or self._is_idle(stream_id):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "RST_STREAM of a stream that was not opened")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._idle_frames.take(self.now_s)
            return
        self._reset_received()
        self.forget(stream, peer_may_send=False)
        stream.receive_reset(frames.WORD.unpack(payload)[0])

    def _reset_received(self) -> None:
        """A stream that has not ended was reset by the peer."""

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id != 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS has no bytes")
            self._settings_acknowledged()
            return
        if len(payload) % frames.SETTING.size:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "SETTINGS have 6 bytes each")
        if self._settings_seen:
            self._settings.take(self.now_s)
        self._settings_seen = True
        window_before = self.peer_initial_window
        for name, value in frames.SETTING.iter_unpack(payload):
            self._apply(name, value)
        self._reply(frames.SETTINGS_ACK)
        if change := self.peer_initial_window - window_before:
            for stream in list(self.streams.values()):
                if stream.window + change > frames.MAX_WINDOW:
                    raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "a stream's window is out of bounds")
                stream.add_window(change)
        self._peer_settings_changed()

    def _apply(self, name: int, value: int) -> None:
        if name == Setting.ENABLE_PUSH:
            if value > 1:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
        elif name == Setting.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is out of bounds")
            self.peer_initial_window = value
        elif name == Setting.MAX_FRAME_SIZE:
            if not frames.MAX_FRAME_BYTES <= value <= frames.LARGEST_MAX_FRAME_BYTES:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of bounds")
            self.peer_max_frame_bytes = value
        else:
            self._setting(name, value)

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionBroken(Code.PROTOCOL_ERROR, "PUSH_PROMISE was not asked for")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "PING has 8 bytes")
        if stream_id != 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "PING on a stream")
        if flags & frames.ACK:
            self.ping_sent_s = None
            self._ping_answered(payload)
            return
        if (data_sent := self._data_sent()) == self._data_sent_at_ping:
            self._pings.take(self.now_s)
        self._data_sent_at_ping = data_sent
        self._reply(frames.ping(payload, ack=True))

    def _data_sent(self) -> int:
        """How many bytes of DATA the peer was sent. Clients measure the network by a PING for what they receive."""
        return self._windows_granted - self.send_window

    def _ping_answered(self, payload: bytes) -> None:
        """The peer has answered a PING of ours."""

    def _reply(self, frame: bytes) -> None:
        self._unsent_replies += 1
        if self._unsent_replies > _MAX_UNSENT_REPLIES:
            raise TooMany("unread replies")
        self.write(frame)

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id != 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < frames.TWO_WORDS.size:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "GOAWAY is too short")
        last_stream_id, _ = frames.TWO_WORDS.unpack_from(payload)
        self._goaway(last_stream_id & frames.MAX_STREAM_ID)

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        increment = frames.WORD.unpack(payload)[0] & frames.MAX_WINDOW
        if stream_id == 0:
            if increment == 0:
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "a window grows by at least 1")
            self.send_window += increment
            self._windows_granted += increment
            if self.send_window > frames.MAX_WINDOW:
                raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "the connection's window is out of bounds")
            self.unblock()
        elif (stream := self.streams.get(stream_id)) is not None:
            if increment == 0:
                raise StreamBroken(Code.PROTOCOL_ERROR, "a window grows by at least 1")
            if stream.window + increment > frames.MAX_WINDOW:
                raise StreamBroken(Code.FLOW_CONTROL_ERROR, "the stream's window is out of bounds")
            stream.add_window(increment)
        elif self._is_idle(stream_id):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "WINDOW_UPDATE of a stream that was not opened")
        else:
            self._idle_frames.take(self.now_s)

    def _received(self, length: int) -> None:
        """Counts DATA on the connection's window and tops it up."""
        self._receive_window -= length
        if self._receive_window < 0:
            raise ConnectionBroken(Code.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        if self._receive_window < _RECEIVE_WINDOW // 2:
            self.write(frames.window_update(0, _RECEIVE_WINDOW - self._receive_window))
            self._receive_window = _RECEIVE_WINDOW


_HANDLERS = (
    Connection._on_data,
    Connection._on_headers,
    Connection._on_priority,
    Connection._on_rst_stream,
    Connection._on_settings,
    Connection._on_push_promise,
    Connection._on_ping,
    Connection._on_goaway,
    Connection._on_window_update,
    Connection._on_continuation,
)


def _unpadded(payload: bytes, length: int) -> bytes:
    if not payload or payload[0] >= length:
        raise ConnectionBroken(Code.PROTOCOL_ERROR, "padding is longer than its frame")
    return payload[1 : length - payload[0]]
