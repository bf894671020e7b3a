"""A TLS port counts a connection when it is taken, and waits for its handshake no longer than it may take."""

import asyncio
import ssl

import pytest
import trustme
import uvloop

from agentring.certificates.context_files import ContextFiles
from agentring.certificates.contexts import http2_only
from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.frames import Setting
from agentring.http2.limits import Limits
from agentring.http2.listener import Listener, bind
from agentring.http2.transport import Flusher
from agentring.rpc.service_connection import ServerContext, ServiceConnection
from harness.http2_frames import frame

PATIENCE_S = 10.0
AUTHORITY = trustme.CA()


def server_context() -> ssl.SSLContext:
    context = http2_only(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    AUTHORITY.configure_trust(context)
    return context


class Port:
    """A TLS port of at most three connections."""

    def __init__(self, handshake_timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        context = ServerContext("node", Limits(linger_s=0.1), Budget(1 << 20), loop, lambda stream: None)
        self.traffic = context.traffic
        self.listener = Listener(
            lambda wake: ServiceConnection(context, loop.time(), wake),
            Flusher(loop),
            context.traffic,
            max_connections=3,
            tls=ContextFiles(server_context),
            handshake_timeout_s=handshake_timeout_s,
        )
        self.bound, self.address = bind("127.0.0.1:0", shared=False)

    async def open(self) -> None:
        await self.listener.open(self.bound)

    async def connect(self, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.address.rpartition(":")
        return await asyncio.open_connection(host, int(port), ssl=tls)

    async def close(self) -> None:
        self.listener.stop_taking()
        await self.listener.close(0.1)
        self.bound.close()


async def greeted(port: Port) -> asyncio.StreamWriter:
    """A connection that goes on: its preface, sent at once, is answered with SETTINGS."""
    reader, writer = await port.connect(client_context())
    writer.write(frames.PREFACE + frame(frames.SETTINGS))
    head, _, _ = frames.HEAD.unpack(await reader.readexactly(frames.HEADER_BYTES))
    assert head & 0xFF == frames.SETTINGS
    settings = dict(frames.SETTING.iter_unpack(await reader.readexactly(head >> 8)))
    assert Setting.MAX_CONCURRENT_STREAMS in settings
    return writer


async def ended(reader: asyncio.StreamReader) -> None:
    """The server closes the connection."""
    try:
        while await reader.read(1 << 16):
            pass
    except OSError:
        pass


async def silence_is_counted_and_ended() -> None:
    port = Port(handshake_timeout_s=0.3)
    await port.open()
    silent = [await port.connect(None) for _ in range(3)]
    refused, refused_writer = await port.connect(None)
    await ended(refused)
    assert port.traffic.client_connections_refused == 1
    for reader, writer in silent:
        await ended(reader)
        writer.close()
    refused_writer.close()
    writers = [await greeted(port) for _ in range(3)]
    assert port.traffic.client_connections_opened == 3
    for writer in writers:
        writer.close()
    await port.close()


async def a_failed_handshake_gives_its_place_back() -> None:
    port = Port(handshake_timeout_s=60)
    await port.open()
    for sent in (frames.PREFACE, b"\x16\x03\x01\x00\x05hello", b"\0" * 100, b""):
        for _ in range(4):
            reader, writer = await port.connect(None)
            writer.write(sent)
            if not sent:
                writer.close()
            await ended(reader)
            writer.close()
    (await greeted(port)).close()
    assert port.traffic.client_connections_refused == 0
    await port.close()


async def a_port_that_is_closed_waits_for_no_handshake() -> None:
    port = Port(handshake_timeout_s=60)
    await port.open()
    reader, writer = await port.connect(None)
    (await greeted(port)).close()  # taken after the silent one
    await port.close()
    await ended(reader)
    writer.close()


@pytest.mark.parametrize(
    "scene",
    [
        silence_is_counted_and_ended,
        a_failed_handshake_gives_its_place_back,
        a_port_that_is_closed_waits_for_no_handshake,
    ],
)
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_connections_before_their_handshake(scene: object, new_loop: object) -> None:
    """On the event loop that processes have, and on Python's own."""
    with asyncio.Runner(loop_factory=new_loop) as runner:  # type: ignore[arg-type]
        runner.run(asyncio.wait_for(scene(), PATIENCE_S))  # type: ignore[operator]
