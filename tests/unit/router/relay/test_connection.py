"""RFC 9113's faults: each is answered by the code that the RFC asks for, and by nothing more."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    WORD,
    Code,
    Setting,
)
from harness.http2 import Wire
from harness.http2_frames import data_of, frame, goaways, message, opening, request, resets

OPEN = frames.headers(1, request(), end_stream=False)
HALF_CLOSED = OPEN + frames.data(1, message(b"x"), end_stream=True)
RESET = OPEN + frames.rst_stream(1, Code.CANCEL)
MAX = frames.MAX_WINDOW


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
        (frame(DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),
        (OPEN + frame(DATA, PADDED, 1, b"\x05abc"), Code.PROTOCOL_ERROR),
        (OPEN + frame(DATA, PADDED, 1, b""), Code.PROTOCOL_ERROR),
        (frame(DATA, 0, 1, bytes(16_385)), Code.FRAME_SIZE_ERROR),
        (frame(HEADERS, END_HEADERS, 0, request()), Code.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 2, request()), Code.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + request()[:200]), Code.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"1234"), Code.FRAME_SIZE_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), Code.COMPRESSION_ERROR),
        (frames.headers(5, request(), end_stream=False) + OPEN, Code.PROTOCOL_ERROR),
        (RESET + OPEN, Code.STREAM_CLOSED),
        (frame(HEADERS, 0, 1, b"") + frame(DATA, 0, 1, b""), Code.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 3, b""), Code.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, b"") + frame(0xAA, 0, 0, b""), Code.PROTOCOL_ERROR),
        (frame(CONTINUATION, END_HEADERS, 1, b""), Code.PROTOCOL_ERROR),
        (OPEN + frame(CONTINUATION, END_HEADERS, 1, b""), Code.PROTOCOL_ERROR),
        (frame(PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 1, b""), Code.PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, bytes(5)), Code.FRAME_SIZE_ERROR),
        (frame(SETTINGS, ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
        (frame(SETTINGS, ACK), Code.PROTOCOL_ERROR),
        (frames.settings({Setting.ENABLE_PUSH: 2}), Code.PROTOCOL_ERROR),
        (frames.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 31}), Code.FLOW_CONTROL_ERROR),
        (frames.settings({Setting.MAX_FRAME_SIZE: 16_383}), Code.PROTOCOL_ERROR),
        (frames.settings({Setting.MAX_FRAME_SIZE: 1 << 24}), Code.PROTOCOL_ERROR),
        (OPEN + frames.window_update(1, MAX - 65_535) + frames.settings({Setting.INITIAL_WINDOW_SIZE: 65_536}),
         Code.FLOW_CONTROL_ERROR),
        (frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4)), Code.PROTOCOL_ERROR),
        (frame(PING, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
        (frame(PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
        (frame(GOAWAY, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
        (frame(GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
        (frame(PRIORITY, 0, 1, b"\0"), Code.FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, WORD.pack(1)), Code.PROTOCOL_ERROR),
        (frames.window_update(0, MAX), Code.FLOW_CONTROL_ERROR),
    ],
)  # fmt: skip
def test_a_fault_of_the_connection_ends_it(sent: bytes, code: Code) -> None:
    wire = Wire()
    client = wire.raw_client()
    assert [found for found, _ in goaways(client.send(sent))] == [code]
    assert client.connection.ended == code
    assert not wire.context.registry.calls
    wire.close()


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (HALF_CLOSED + frame(DATA, 0, 1, b"x"), Code.STREAM_CLOSED),
        (HALF_CLOSED + frame(DATA, END_STREAM, 1, b""), Code.STREAM_CLOSED),
        (HALF_CLOSED + frames.headers(1, b"\x00\x01a\x01b", end_stream=True), Code.STREAM_CLOSED),
        (RESET + frame(DATA, 0, 1, b"x"), Code.STREAM_CLOSED),
        (OPEN + frames.headers(1, b"\x00\x01a\x01b", end_stream=False), Code.PROTOCOL_ERROR),
        (OPEN + frames.headers(1, request(), end_stream=True), Code.PROTOCOL_ERROR),
        (OPEN + frame(WINDOW_UPDATE, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
        (OPEN + frames.window_update(1, MAX), Code.FLOW_CONTROL_ERROR),
        (OPEN + frame(PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
        (OPEN + frame(PRIORITY, 0, 1, WORD.pack(1) + b"\0"), Code.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, WORD.pack(1) + b"\0" + request()), Code.PROTOCOL_ERROR),
        (frames.headers(1, request() + b"\x00\x01A\x01b", end_stream=False), Code.PROTOCOL_ERROR),
        (frames.headers(1, b"\x00\x01a\x01b", end_stream=False), Code.PROTOCOL_ERROR),
    ],
)
def test_a_fault_of_a_stream_ends_that_alone(sent: bytes, code: Code, size: int) -> None:
    """However it is cut into reads."""
    wire = Wire()
    client = wire.raw_client()
    found = client.send(*(sent[pos : pos + size] for pos in range(0, len(sent), size)))
    assert resets(found) == [(1, code)]
    assert goaways(found) == []
    assert not wire.context.registry.calls
    client.open(3)
    assert len(wire.context.registry.calls) == 1
    client.connection.socket_lost()
    wire.close()


def test_data_beyond_the_streams_window_ends_the_stream() -> None:
    wire = Wire(node_settings={Setting.INITIAL_WINDOW_SIZE: 0})
    client = wire.raw_client()
    client.open(1)
    frame_of_data = frames.data(1, message(bytes(16_379)))
    found = client.send(*[frame_of_data] * 4)
    assert resets(found) == []
    assert resets(client.send(frames.data(1, b"\0"))) == [(1, Code.FLOW_CONTROL_ERROR)]
    client.connection.socket_lost()
    wire.close()


def test_data_beyond_the_connections_window_ends_the_connection() -> None:
    wire = Wire()
    client = wire.raw_client()
    ids = range(1, 601, 2)
    for stream_id in ids:
        client.open(stream_id)
    flood = b"".join(frames.data(stream_id, message(bytes(16_379))) for stream_id in ids) * 4
    assert [code for code, _ in goaways(client.send(flood))] == [Code.FLOW_CONTROL_ERROR]
    assert not wire.context.registry.calls


def test_the_connections_window_is_topped_up_whatever_becomes_of_the_streams() -> None:
    wire = Wire()
    client = wire.raw_client()
    client.send(OPEN)
    read = [*client.send(*[frames.data(1, bytes(16_384))] * 1_000)]
    assert goaways(read) == []
    assert sum(each.word for each in read if each.kind == WINDOW_UPDATE and each.stream_id == 0) >= 1 << 23


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", b"x"])
def test_another_preface_ends_the_connection(begin: bytes) -> None:
    wire = Wire()
    client = wire.raw_client(b"")
    assert [code for code, _ in goaways(client.send(begin))] == [Code.PROTOCOL_ERROR]


@pytest.mark.parametrize("first", [frames.ping(bytes(8), ack=False), OPEN, frame(0xAA), frames.window_update(0, 1)])
def test_the_first_frame_is_settings(first: bytes) -> None:
    client = Wire().raw_client(b"")
    assert [code for code, _ in goaways(client.send(PREFACE + first))] == [Code.PROTOCOL_ERROR]


def test_a_session_cut_into_single_bytes_is_the_same_session() -> None:
    wire = Wire()
    client = wire.raw_client(b"")
    sent = opening() + frames.headers(1, request(), end_stream=False, max_frame_bytes=50)
    sent += frame(DATA, PADDED, 1, b"\x03" + message(b"hello") + bytes(3)) + frames.data(
        1, message(b"you"), end_stream=True
    )
    client.send(*(sent[pos : pos + 1] for pos in range(len(sent))))
    wire.settle()
    heard = wire.node().streams[1]
    assert (heard.data, heard.ended) == (message(b"hello") + message(b"you"), True)
    client.connection.socket_lost()
    wire.close()


def test_unknown_frames_settings_and_flags_are_let_pass() -> None:
    wire = Wire()
    client = wire.raw_client()
    unknown = frame(SETTINGS, 0, 0, frames.SETTING.pack(0xF000, 1)) + frame(0xAA, 0xFF, 9, b"x" * 100)
    assert goaways(client.send(unknown + frame(PING, 0xFE, 0, bytes(8)))) == []
    found = client.send(frame(HEADERS, END_HEADERS | 0x40, 1 | 1 << 31, request()))
    assert goaways(found) == []
    assert resets(found) == []
    assert list(client.connection.streams) == [1]
    client.connection.socket_lost()
    wire.close()


def test_settings_and_pings_are_answered_in_order() -> None:
    client = Wire().raw_client()
    found = client.send(frames.settings({}) + frames.ping(b"abcdefgh", ack=False) + frames.settings({}))
    assert [(each.kind, each.flags, each.payload) for each in found] == [
        (SETTINGS, ACK, b""),
        (PING, ACK, b"abcdefgh"),
        (SETTINGS, ACK, b""),
    ]


@pytest.mark.parametrize("kind", [DATA, PRIORITY, WINDOW_UPDATE, RST_STREAM])
def test_what_comes_late_on_a_stream_that_we_have_ended_is_no_fault(kind: int) -> None:
    wire = Wire()
    client = wire.raw_client()
    client.open(1, "/nobody.Knows/This", session=None)
    client.send(frames.data(1, message(b"")))
    assert 1 not in client.connection.streams
    late = {DATA: b"late", PRIORITY: bytes(5), WINDOW_UPDATE: WORD.pack(1), RST_STREAM: bytes(4)}[kind]
    assert client.send(frame(kind, 0, 1, late)) == []


def test_no_frame_is_longer_than_16_kib_nor_cut_where_it_need_not_be() -> None:
    wire = Wire()
    client = wire.raw_client()
    client.open(1)
    client.send(frames.settings({Setting.MAX_FRAME_SIZE: 1 << 20}) + frames.window_update(1, 1 << 20))
    node = wire.node()
    wire.settle()
    node.accept(1)
    body = message(b"\x09" + bytes(8) + b"\x11" + bytes(8) + bytes(40_000))
    node.send(1, body)
    wire.settle()
    found = client.read()
    assert data_of(found, 1) == body
    assert [len(each.payload) for each in found if each.kind == DATA] == [16_384, 16_384, len(body) - 32_768]
    client.connection.socket_lost()
    wire.close()


def test_padding_after_the_end_of_a_stream_is_a_fault_of_that_stream_alone() -> None:
    wire = Wire()
    client = wire.raw_client()
    client.open(1)
    client.open(3)
    client.send(frames.data(1, message(b""), end_stream=True))
    found = client.send((frames.HEAD.pack(101 << 8, frames.PADDED, 1) + b"\x64" + bytes(100)) * 2)
    assert resets(found) == [(1, Code.STREAM_CLOSED)]
    assert list(client.connection.streams) == [3]
    client.connection.socket_lost()
    wire.close()


def test_numbers_of_word_frames_are_read_without_their_reserved_bit() -> None:
    wire = Wire()
    client = wire.raw_client()
    client.send(OPEN)
    assert client.send(frame(WINDOW_UPDATE, 0, 1, WORD.pack(1 << 31 | 10))) == []
    assert client.connection.streams[1].window == 65_535 + 10
    client.connection.socket_lost()
    wire.close()
