"""Frames of RFC 9113: their names, and how they are written. Reading them is the connection's loop."""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

HEADER_BYTES: Final = 9
MAX_FRAME_BYTES: Final = 16_384
"""The least that a peer must take, and all that we take."""
LARGEST_MAX_FRAME_BYTES: Final = (1 << 24) - 1
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = (1 << 31) - 1
MAX_STREAM_ID: Final = (1 << 31) - 1

HEAD: Final = Struct(">IBI")
"""A frame's first 9 bytes: length * 256 + type, flags, stream id with a reserved bit."""
HEAD_AND_WORD: Final = Struct(">IBII")
WORD: Final = Struct(">I")
TWO_WORDS: Final = Struct(">II")
SETTING: Final = Struct(">HI")


class Code(IntEnum):
    """Error codes."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(IntEnum):
    """Settings that either side may announce."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    PING_INTERVAL_MS = 0xF0A1
    """Of our own, among those for experiments: so often, at most, may the peer send PING without any other frame."""


class ConnectionBroken(Exception):
    """The peer broke the protocol so that the connection must end, with GOAWAY."""

    def __init__(self, code: Code, why: str) -> None:
        """why: for the log and GOAWAY's debug data; never anything the peer sent."""
        super().__init__(why)
        self.code = code
        self.why = why


class StreamBroken(Exception):
    """The peer broke the protocol so that one stream must end, with RST_STREAM."""

    def __init__(self, code: Code, why: str) -> None:
        """why: for the log."""
        super().__init__(why)
        self.code = code


DATA_HEADS: Final = tuple(HEAD.pack(length << 8 | DATA, 0, 0)[:5] for length in range(MAX_FRAME_BYTES + 1))
"""By a payload's length: what a DATA frame without flags begins with, up to the stream id."""

SETTINGS_ACK: Final = HEAD.pack(SETTINGS, ACK, 0)


def settings(values: Mapping[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    body = b"".join(SETTING.pack(name, value) for name, value in values.items())
    return HEAD.pack(len(body) << 8 | SETTINGS, 0, 0) + body


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0: the connection's window."""
    return HEAD_AND_WORD.pack(4 << 8 | WINDOW_UPDATE, 0, stream_id, increment)


def rst_stream(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return HEAD_AND_WORD.pack(4 << 8 | RST_STREAM, 0, stream_id, code)


def ping(opaque: bytes, *, ack: bool) -> bytes:
    """A PING frame; opaque: 8 bytes."""
    return HEAD.pack(8 << 8 | PING, ACK if ack else 0, 0) + opaque


def goaway(last_stream_id: int, code: Code, why: str = "") -> bytes:
    """A GOAWAY frame; last_stream_id: the highest one that was or will be served."""
    body = TWO_WORDS.pack(last_stream_id, code) + why.encode()
    return HEAD.pack(len(body) << 8 | GOAWAY, 0, 0) + body


def data(stream_id: int, payload: bytes, *, end_stream: bool = False) -> bytes:
    """A DATA frame. Those without flags are written out in Stream.send and its like."""
    return HEAD.pack(len(payload) << 8 | DATA, END_STREAM if end_stream else 0, stream_id) + payload


def headers(stream_id: int, block: bytes, *, end_stream: bool, max_frame_bytes: int = MAX_FRAME_BYTES) -> bytes:
    """A header block as HEADERS and as many CONTINUATION frames as it needs."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= max_frame_bytes:
        return HEAD.pack(len(block) << 8 | HEADERS, flags | END_HEADERS, stream_id) + block
    return b"".join(_split_headers(stream_id, block, flags, max_frame_bytes))


def _split_headers(stream_id: int, block: bytes, flags: int, max_frame_bytes: int) -> Iterator[bytes]:
    kind = HEADERS
    for start in range(0, len(block), max_frame_bytes):
        piece = block[start : start + max_frame_bytes]
        last = start + max_frame_bytes >= len(block)
        yield HEAD.pack(len(piece) << 8 | kind, flags | (END_HEADERS if last else 0), stream_id) + piece
        kind, flags = CONTINUATION, 0
