"""A health check from outside: what counts as an answer, and what does not."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from agentring.certificates.context_files import ContextFiles
from agentring.http2 import frames
from agentring.rpc.probe import ProbeFailed, Tls, probe
from agentring.rpc.server import Server

TIMEOUT_S = 10.0


@asynccontextmanager
async def serving(address: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server with health checks alone."""
    files = ContextFiles(lambda: tls) if tls is not None else None
    server = Server(address, {}, first_frame_timeout_s=5.0, tls=files)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


async def ask(address: str, *, tls: Tls = Tls.NONE, timeout_s: float = TIMEOUT_S) -> None:
    await asyncio.to_thread(probe, address, tls, timeout_s)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0", "localhost:0"])
async def test_a_server_answers_wherever_it_listens(listen: str) -> None:
    async with serving(listen) as server:
        await ask(server.address)
        await ask(server.address)


async def test_a_server_on_a_socket_answers(tmp_path: Path) -> None:
    async with serving(f"unix:{tmp_path / 's'}") as server:
        await ask(server.address)
    with pytest.raises(ProbeFailed) as failed:
        await ask(server.address)
    assert failed.value.refused


async def test_a_server_that_has_ended_says_so_and_answers_no_more() -> None:
    async with serving("127.0.0.1:0") as server:
        assert not server.ended.done()
        await server.stop(0)
        await asyncio.wait_for(server.ended, TIMEOUT_S)
        with pytest.raises(ProbeFailed, match="nobody listens") as failed:
            await ask(server.address)
        assert failed.value.refused


@pytest.mark.parametrize("asks_callers", [False, True])
async def test_tls_is_no_hindrance_nor_a_certificate_that_is_asked_for(asks_callers: bool) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("elsewhere.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2"])
    issued.configure_cert(context)
    if asks_callers:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    async with serving("127.0.0.1:0", context) as server:
        await ask(server.address, tls=Tls.MUTUAL if asks_callers else Tls.SERVER)
        with pytest.raises(ProbeFailed):
            await ask(server.address, timeout_s=1.0)


def _silent(_peer: socket.socket) -> None:
    return


def _closing(peer: socket.socket) -> None:
    peer.close()


def _talking(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)


def _half(peer: socket.socket) -> None:
    peer.sendall(frames.settings({})[:5])


def _resetting(peer: socket.socket) -> None:
    peer.sendall(frames.settings({}) + frames.rst_stream(1, frames.Code.INTERNAL_ERROR))


def _failing(peer: socket.socket) -> None:
    block = b"\x88" + b"\x10\x0bgrpc-status\x0214"
    peer.sendall(frames.settings({}) + frames.headers(1, block, end_stream=True))


@pytest.mark.parametrize("peer", [_silent, _closing, _talking, _half, _resetting, _failing])
def test_what_is_no_answer_fails_in_time(peer: Callable[[socket.socket], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        taken: list[socket.socket] = []

        def take() -> None:
            taken.append(port.accept()[0])
            peer(taken[0])

        taking = threading.Thread(target=take)
        taking.start()
        try:
            with pytest.raises(ProbeFailed) as failed:
                probe(f"127.0.0.1:{port.getsockname()[1]}", Tls.NONE, 0.3)
            assert not failed.value.refused
        finally:
            taking.join()
            taken[0].close()


def test_a_server_that_refuses_one_connection_too_many_has_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:

        def take() -> None:
            with port.accept()[0] as peer:
                peer.sendall(frames.settings({}) + frames.goaway(0, frames.Code.ENHANCE_YOUR_CALM, "too many"))
                peer.recv(1 << 16)

        taking = threading.Thread(target=take)
        taking.start()
        try:
            probe(f"127.0.0.1:{port.getsockname()[1]}", Tls.NONE, TIMEOUT_S)
        finally:
            taking.join()


def test_a_port_that_takes_no_connection_fails_in_time() -> None:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        port.listen(0)
        address = port.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:  # fills the queue, which nobody empties
            each.setblocking(False)
            each.connect_ex(address)
        with pytest.raises(ProbeFailed, match=r"no answer within 0\.3 s"):
            probe(f"127.0.0.1:{address[1]}", Tls.NONE, 0.3)
        for each in waiting:
            each.close()
