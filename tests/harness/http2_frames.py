"""Frames and header blocks as tests write and read them: any frame, whether the RFC allows it or not."""

from collections.abc import Iterator
from typing import NamedTuple

from agentring.http2 import frames
from agentring.http2.frames import HEAD, Code, Setting
from agentring.http2.hpack import block
from agentring.rpc.messages import PREFIX

CONVERSE = "/agentring.v1.SessionService/Converse"
GET_SESSION = "/agentring.v1.SessionService/GetSession"
RUN_TASK = "/agentring.v1.TaskService/RunTask"
FOREIGN = "/acme.Shop/Buy"

Fields = tuple[tuple[str, str], ...]
ACCEPTED: Fields = (
    (":status", "200"),
    ("content-type", "application/grpc"),
    ("x-agentring-node", "a"),
    ("x-agentring-epoch", "7"),
)


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def word(self) -> int:
        """The first number of RST_STREAM and WINDOW_UPDATE."""
        return int(frames.WORD.unpack_from(self.payload)[0])


def frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    """Any frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def parse(data: bytes) -> Iterator[Frame]:
    """The frames of what was written, which must be whole."""
    pos = len(frames.PREFACE) if data.startswith(frames.PREFACE) else 0
    while pos < len(data):
        head, flags, stream_id = HEAD.unpack_from(data, pos)
        after = pos + frames.HEADER_BYTES + (head >> 8)
        assert after <= len(data), "half a frame was written"
        yield Frame(head & 0xFF, flags, stream_id, data[pos + frames.HEADER_BYTES : after])
        pos = after


def message(body: bytes) -> bytes:
    """A gRPC message."""
    return PREFIX.pack(0, len(body)) + body


def marked(through_seq: int, acked_frame: int, body: bytes = b"") -> bytes:
    """A gRPC message that begins as the answers of streams that can be re-attached do."""
    return message(b"\x09" + through_seq.to_bytes(8, "little") + b"\x11" + acked_frame.to_bytes(8, "little") + body)


def request_fields(path: str = CONVERSE, *fields: tuple[str, str], session: str | None = "s") -> Fields:
    """A gRPC request's."""
    routing = () if session is None else (("x-session-id", session),)
    return (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "router"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *routing,
        *fields,
    )


def request(path: str = CONVERSE, *fields: tuple[str, str], session: str | None = "s") -> bytes:
    """The same as a header block that changes no table."""
    return block(request_fields(path, *fields, session=session))


def goaways(found: list[Frame]) -> list[tuple[Code, str]]:
    """Code and debug data of each GOAWAY among them."""
    said = [(frames.TWO_WORDS.unpack_from(each.payload)[1], each) for each in found if each.kind == frames.GOAWAY]
    return [(Code(code), each.payload[frames.TWO_WORDS.size :].decode()) for code, each in said]


def resets(found: list[Frame]) -> list[tuple[int, Code]]:
    """Stream and code of each RST_STREAM among them."""
    return [(each.stream_id, Code(each.word)) for each in found if each.kind == frames.RST_STREAM]


def granted(found: list[Frame], stream_id: int) -> int:
    """The sum of the WINDOW_UPDATEs for a stream."""
    return sum(each.word for each in found if each.kind == frames.WINDOW_UPDATE and each.stream_id == stream_id)


def data_of(found: list[Frame], stream_id: int) -> bytes:
    """The DATA of a stream."""
    return b"".join(each.payload for each in found if each.kind == frames.DATA and each.stream_id == stream_id)


def opening(settings: dict[Setting, int] | None = None) -> bytes:
    """What a client's connection begins with, our SETTINGS acknowledged."""
    return frames.PREFACE + frames.settings(settings or {}) + frames.SETTINGS_ACK
