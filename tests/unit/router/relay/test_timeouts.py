"""What a client takes too long for."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import CONTINUATION, HEADERS, PREFACE, Code, Setting
from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_frames import frame, goaways, opening, request
from harness.http2_raw import RawClient


def ticked(client: RawClient, wire: Wire, seconds: float) -> str:
    wire.clock.advance(seconds)
    client.connection.tick(wire.clock.time())
    return client.connection.broken_for


@pytest.mark.parametrize("begin", [b"", PREFACE[:5], PREFACE, PREFACE + frames.settings({})[:5]])
def test_a_client_that_does_not_begin_is_let_go(begin: bytes) -> None:
    wire = Wire()
    client = wire.raw_client(begin)
    assert ticked(client, wire, 10.0) == ""
    assert ticked(client, wire, 0.1) == "preface timeout"
    assert [code for code, _ in goaways(client.read())] == [Code.SETTINGS_TIMEOUT]


def test_a_client_without_a_call_is_let_go_but_not_one_with() -> None:
    wire = Wire(limits=Limits(idle_timeout_s=100.0, keepalive_s=1e9))
    client = wire.raw_client()
    client.open(1)
    assert ticked(client, wire, 1_000.0) == ""
    client.send(frames.rst_stream(1, Code.CANCEL))
    assert ticked(client, wire, 100.0) == ""
    assert ticked(client, wire, 0.1) == "idle"
    assert goaways(client.read()) == [(Code.NO_ERROR, "idle")]


def test_a_silent_client_is_asked_and_then_let_go_with_its_calls() -> None:
    wire = Wire()
    client = wire.raw_client(opening({Setting.INITIAL_WINDOW_SIZE: 5}))
    client.open(1)
    assert ticked(client, wire, 30.0) == ""
    assert client.read() == []
    assert ticked(client, wire, 0.1) == ""
    (asked,) = client.read()
    assert asked.kind == frames.PING
    client.send(frames.ping(asked.payload, ack=True))
    assert ticked(client, wire, 1.0) == ""
    assert ticked(client, wire, 30.0) == ""
    assert ticked(client, wire, 10.0) == ""
    assert ticked(client, wire, 0.1) == "keepalive timeout"
    assert not wire.context.registry.calls


@pytest.mark.parametrize("cut", [12, 60])
def test_a_header_block_that_does_not_end_is_not_waited_for(cut: int) -> None:
    """In the middle of its HEADERS frame or between CONTINUATIONs; each byte of it is a sign of life."""
    wire = Wire()
    client = wire.raw_client()
    client.open(1)
    block = request()
    whole = frame(HEADERS, 0, 3, block[:20]) + frame(CONTINUATION, 0, 3, block[20:])
    client.send(whole[:cut])
    assert ticked(client, wire, 1.0) == ""
    for byte in whole[cut : cut + 20]:
        assert ticked(client, wire, 0.5) == ""
        client.send(bytes([byte]))
    assert ticked(client, wire, 0.1) == "seconds for a header block"
    assert [code for code, _ in goaways(client.read())] == [Code.ENHANCE_YOUR_CALM]
    wire.close()


def test_blocks_that_are_each_begun_when_the_clock_ticks_are_no_fault() -> None:
    wire = Wire()
    client = wire.raw_client()
    blocks = [frames.headers(stream_id, request(), end_stream=False) for stream_id in range(1, 201, 2)]
    for each in blocks:
        client.send(each[:12])
        assert ticked(client, wire, 1.0) == ""
        client.send(each[12:])
    assert len(wire.context.registry.calls) == 100
    client.connection.socket_lost()
    wire.close()
