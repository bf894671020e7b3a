"""Requests that are not gRPC: one line of text, whatever they send and however little they read."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import Code, Setting
from agentring.http2.hpack import block
from agentring.rpc.non_grpc_stream import NOT_GRPC_BODY
from harness.http2 import Wire
from harness.http2_frames import Fields, frame, opening, resets
from harness.http2_peers import ClientPeer


def fields(method: str, *more: tuple[str, str]) -> Fields:
    return ((":method", method), (":scheme", "http"), (":path", "/"), (":authority", "x"), *more)


def ask(client: ClientPeer, method: str, body: bytes = b"", *more: tuple[str, str]) -> int:
    stream_id: int = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream_id, fields(method, *more), end_stream=not body)
    if body:
        client.send(stream_id, body, end=True)
    return stream_id


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b"a=b"), ("PUT", bytes(500_000))])
def test_the_answer_is_415_and_a_line(method: str, body: bytes) -> None:
    wire = Wire()
    client = wire.client()
    stream_id = ask(client, method, body, ("content-length", str(len(body))))
    wire.settle()
    heard = client.streams[stream_id]
    assert (heard.fields[":status"], heard.data, heard.ended) == ("415", NOT_GRPC_BODY, True)
    assert not client.connection.streams
    wire.close()


def test_head_is_answered_without_a_body() -> None:
    wire = Wire()
    client = wire.client()
    stream_id = ask(client, "HEAD")
    wire.settle()
    assert (client.streams[stream_id].data, client.streams[stream_id].ended) == (b"", True)
    wire.close()


@pytest.mark.parametrize("length", ["0", "2", "4", "99999999999999999999"])
def test_a_body_of_another_length_than_was_said_is_a_fault(length: str) -> None:
    wire = Wire()
    client = wire.raw_client()
    head = block(fields("POST", ("content-length", length)))
    found = client.send(frames.headers(1, head, end_stream=False), frames.data(1, b"abc", end_stream=True))
    assert resets(found) == [(1, Code.PROTOCOL_ERROR)]


def test_a_body_over_1_mib_is_answered_before_its_end_and_once() -> None:
    wire = Wire()
    client = wire.client()
    stream_id = ask(client, "POST", bytes(3 << 20))
    wire.settle()
    heard = client.streams[stream_id]
    assert (heard.data, heard.ended, heard.reset) == (NOT_GRPC_BODY, True, Code.NO_ERROR)
    wire.close()


def test_a_body_over_1_mib_is_answered_once_where_the_answer_has_to_wait() -> None:
    wire = Wire()
    client = wire.client({Setting.INITIAL_WINDOW_SIZE: 0})
    stream_id = ask(client, "POST", bytes(3 << 20))
    wire.settle()
    assert wire.budget.used_bytes == len(NOT_GRPC_BODY)
    client.h2.increment_flow_control_window(1000, stream_id)
    wire.settle()
    assert client.streams[stream_id].data == NOT_GRPC_BODY
    wire.close()


def test_a_second_end_is_a_fault_and_no_second_answer() -> None:
    wire = Wire()
    client = wire.raw_client(opening({Setting.INITIAL_WINDOW_SIZE: 0}))
    client.send(frames.headers(1, block(fields("GET")), end_stream=True))
    found = client.send(frame(frames.DATA, frames.END_STREAM, 1))
    assert [each.kind for each in found] == [frames.RST_STREAM]
    assert resets(found) == [(1, Code.STREAM_CLOSED)]


@pytest.mark.parametrize("how", ["reset", "lost", "broken"])
def test_an_answer_that_nobody_reads_is_given_up_with_its_stream(how: str) -> None:
    wire = Wire()
    client = wire.raw_client(opening({Setting.INITIAL_WINDOW_SIZE: 0}))
    client.send(frames.headers(1, block(fields("GET")), end_stream=True))
    assert (wire.budget.used_bytes, len(wire.budget)) == (len(NOT_GRPC_BODY), 1)
    if how == "reset":
        client.send(frames.rst_stream(1, Code.CANCEL))
    elif how == "broken":
        client.send(frame(frames.WINDOW_UPDATE, 0, 1, bytes(4)))
    else:
        client.connection.socket_lost()
    assert (wire.budget.used_bytes, len(wire.budget)) == (0, 0)


def test_an_answer_that_nobody_reads_is_shed() -> None:
    wire = Wire(max_buffered_bytes=len(NOT_GRPC_BODY) - 1)
    client = wire.raw_client(opening({Setting.INITIAL_WINDOW_SIZE: 0}))
    found = client.send(frames.headers(1, block(fields("GET")), end_stream=True))
    assert resets(found) == [(1, Code.ENHANCE_YOUR_CALM)]
    assert wire.budget.used_bytes == 0


@pytest.mark.parametrize("sent", [b"", b"abc"])
def test_a_request_that_does_not_come_to_its_end_is_answered_in_time(sent: bytes) -> None:
    wire = Wire()
    client = wire.client()
    stream_id: int = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream_id, fields("POST"))
    client.send(stream_id, sent)
    wire.settle()
    wire.clock.advance(wire.limits.first_frame_timeout_s - 0.1)
    wire.settle()
    assert stream_id not in client.streams
    wire.clock.advance(0.1)
    wire.settle()
    heard = client.streams[stream_id]
    assert (heard.fields[":status"], heard.data, heard.reset) == ("415", NOT_GRPC_BODY, Code.NO_ERROR)
    assert not client.connection.streams
    wire.close()


@pytest.mark.parametrize("end_stream", [True, False])
def test_an_answer_that_nobody_reads_is_given_up_in_time(end_stream: bool) -> None:
    wire = Wire()
    client = wire.raw_client(opening({Setting.INITIAL_WINDOW_SIZE: 0}))
    client.send(frames.headers(1, block(fields("POST")), end_stream=end_stream))
    wire.clock.advance(wire.limits.first_frame_timeout_s)
    assert resets(client.read()) == [(1, Code.CANCEL)]
    assert (wire.budget.used_bytes, wire.clock.waiting) == (0, 0)
    assert not client.connection.streams


@pytest.mark.parametrize("how", ["answered", "reset", "lost", "broken", "shed"])
def test_nothing_waits_for_a_request_that_is_over(how: str) -> None:
    wire = Wire()
    client = wire.raw_client()
    client.send(frames.headers(1, block(fields("POST", ("content-length", "9"))), end_stream=False))
    match how:
        case "answered":
            client.send(frames.data(1, b"123456789", end_stream=True))
        case "reset":
            client.send(frames.rst_stream(1, Code.CANCEL))
        case "lost":
            client.connection.socket_lost()
        case "broken":
            client.send(frames.data(1, b"1234567890"))
        case _:
            client.connection.streams[1].shed()
    assert wire.clock.waiting == 0
