"""One HTTP/2 connection, the part that both roles share: frames in, settings, windows, header blocks.

A state machine without a socket: `receive` takes what was read. Guarantees: whatever is
received, `receive` does not raise; a peer that breaks the protocol is told so with GOAWAY and is not listened to any
more. What stays in memory is bounded: an incomplete frame (16 KiB), an incomplete header block (max_header_block_bytes)
and what streams keep (stream.py). Connection windows are hop by hop and always topped up; it is the streams' windows
that hold a sender back.

DATA frames, nearly all that comes, are handled in the loop of `receive` itself; the rest goes through `_frame`. So that
one peer's frames do not hold up all others, `receive` stops after some work, and is `behind` until it is called again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from agentring.http2 import frames
from agentring.http2.control_frames import ControlFrames
from agentring.http2.frames import HEAD, Code, ConnectionBroken, StreamBroken
from agentring.http2.header_block import HeaderBlock
from agentring.http2.limits import Limits, TooMany
from agentring.http2.stream import Stream

_log = structlog.get_logger()

_MAX_LENGTH: Final = frames.MAX_FRAME_BYTES
_MAX_WORK: Final = 256
_HEADERS_WORK: Final = 8
"""Opening a call costs about so many times what another frame does."""


class Connection(ControlFrames):
    """What a client's and a node's connection have in common."""

    def __init__(self, limits: Limits, now_s: float, wake: Callable[[], None]) -> None:
        """As ControlFrames."""
        super().__init__(limits, now_s, wake)
        self.heard_s = now_s
        self.behind = False
        """More has come than was handled: `receive` is to be called again, with nothing if nothing came."""
        self._rest = b""
        self._block: HeaderBlock | None = None

    def receive(self, data: bytes, now_s: float) -> None:
        """Handles what was read; now_s: on a monotonic clock."""
        self.now_s = self.heard_s = now_s
        if self._rest:
            data = self._rest + data
            self._rest = b""
        received_bytes = work = 0
        self.behind = False
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
                is_data = not head & 0xFF
                if is_data:
                    received_bytes += length
                if is_data and flags <= frames.END_STREAM and length and plain and stream_id in streams:
                    stream = streams[stream_id]
                    stream.receive_data(data, start, length)
                    if not flags:
                        continue
                    if streams.get(stream_id) is stream:
                        stream.receive_end()
                else:
                    self._frame(head & 0xFF, flags, stream_id & frames.MAX_STREAM_ID, data[start:after])
                    plain = self._block is None
                if self.ended is not None:
                    return
                work += _HEADERS_WORK if head & 0xFF == frames.HEADERS else 1
                if work >= _MAX_WORK:
                    self.behind = pos < end
                    break
            self._rest = data[pos:]
            if received_bytes:
                self._received(received_bytes)
        # Invariant: no input raises; it ends its connection at most (tests/unit/router/relay/test_fuzz.py).
        except ConnectionBroken as broken:
            self.fail(broken)
        except Exception:
            _log.exception("connection_failed", role=self.role)
            self.fail(ConnectionBroken(Code.INTERNAL_ERROR, "internal error"))

    # What differs between the two roles.

    def _begin(self, data: bytes) -> int:
        """Where the first frame begins, after a client's preface; below 0: that is not complete."""
        return 0

    def _headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def _oversized_headers(self, stream_id: int, end_stream: bool) -> None:
        """A header block came that is too long to be read."""
        raise TooMany("header bytes")

    # Frames.

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block.stream_id):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "a header block is interrupted")
        if not self._settings_seen and kind != frames.SETTINGS:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind < len(_HANDLERS):
            try:
                _HANDLERS[kind](self, flags, stream_id, payload)
            except StreamBroken as broken:
                if self._is_idle(stream_id):  # which RST_STREAM must not be sent for, RFC 9113 6.4
                    raise ConnectionBroken(broken.code, str(broken)) from None
                self.break_stream(stream_id, broken)
        else:
            self._idle_frames.take(self.now_s)

    def drain(self, why: str = "") -> None:
        """Takes no more streams, and ends with the last one."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends it for good."""
        raise NotImplementedError

    def peer_ended(self) -> bool:
        """The peer sends nothing more. Whether there is something for it yet, so that the connection stays."""
        return False

    def probe(self) -> None:
        """Writes something to a peer that sends nothing more, to find out whether it is still there."""

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "DATA without a stream")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._on_closed(stream_id)
            return
        if stream.receive_ended:
            raise StreamBroken(Code.STREAM_CLOSED, "DATA after END_STREAM")
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
        block = HeaderBlock(self.limits, stream_id, flags, payload)
        block.self_dependent = self_dependent
        if flags & frames.END_HEADERS:
            self._end_headers(block)
        else:
            self._block = block

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        block = self._block
        block.go_on(payload)
        if flags & frames.END_HEADERS:
            self._block = None
            self._end_headers(block)

    def _end_headers(self, block: HeaderBlock) -> None:
        if block.oversized:
            self._oversized_headers(block.stream_id, block.end_stream)
        else:
            self._headers(block.stream_id, bytes(block.bytes), block.end_stream)
        if block.self_dependent:
            raise StreamBroken(Code.PROTOCOL_ERROR, "a stream depends on itself")

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(Code.FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        if stream_id == 0 or self._is_idle(stream_id):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "RST_STREAM of a stream that was not opened")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._idle_frames.take(self.now_s)
            return
        self._reset_received(stream)
        self.forget(stream, peer_may_send=False)
        stream.receive_reset(frames.WORD.unpack(payload)[0])

    def _reset_received(self, stream: Stream) -> None:
        """A stream that has not ended was reset by the peer."""


_HANDLERS: Final = (
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
