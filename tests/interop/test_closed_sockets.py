"""TCP's half-close: a client that has asked all and says so is answered; one that was killed ends its calls."""

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from agentring.http2 import frames
from harness.hosted import HostedService
from harness.http2_frames import frame, message, opening, parse, request

SERVICE = "/interop.v1.EchoService/"
TIMEOUT_S = 15.0


@pytest.fixture(params=["hosted", "own_services"])
def port(request: pytest.FixtureRequest) -> int:
    """A router's before a hosted service, and a node's own."""
    found: HostedService | str = request.getfixturevalue(request.param)
    return int((found if isinstance(found, str) else found.router).rpartition(":")[2])


def opened(port: int, method: str, call_id: str, *, ended: bool) -> socket.socket:
    """A connection with one call."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    named = () if method == "Outcome" else (("call-id", call_id),)
    block = request(SERVICE + method, *named, session="half-close")
    connection.sendall(
        opening()
        + frames.headers(1, block, end_stream=False)
        + frame(frames.SETTINGS, frames.ACK)
        + frames.data(1, message(call_id.encode()), end_stream=ended)
    )
    return connection


def received(connection: socket.socket) -> Iterator[bytes]:
    while data := connection.recv(1 << 16):
        yield data


def test_the_answer_comes_after_the_clients_end(port: int) -> None:
    with opened(port, "Unary", "", ended=True) as connection:
        connection.shutdown(socket.SHUT_WR)
        found = list(parse(b"".join(received(connection))))
    heads = [each for each in found if each.stream_id == 1 and each.kind == frames.HEADERS]
    assert len(heads) == 2
    assert heads[-1].flags & frames.END_STREAM
    assert b"".join(each.payload for each in found if each.kind == frames.DATA) == message(b"")


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_has_left_ends_its_calls(port: int, ended: bool, reset: bool) -> None:
    call_id = f"left-{port}-{ended}-{reset}"
    with opened(port, "Hold", call_id, ended=ended) as connection:
        data = b""
        while message(call_id.encode()) not in data:
            data += connection.recv(1 << 16)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    begun_s = time.monotonic()
    with opened(port, "Outcome", call_id, ended=True) as asking:
        data = b""
        while b"running" not in data and b"cancelled" not in data:
            data += asking.recv(1 << 16)
    assert message(b"cancelled") in data
    assert time.monotonic() - begun_s < 5
