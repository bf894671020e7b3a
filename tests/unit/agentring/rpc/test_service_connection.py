"""What ends a connection or a call of our own services, and no other one."""

import asyncio

import pytest

from agentring.errors import NodeDraining
from agentring.http2 import frames
from agentring.http2.frames import Code
from agentring.rpc.server import Server
from harness.asked_sessions import RUN, SERVICE, AskedSessions
from harness.byte_client import byte_client
from harness.http2_frames import frame


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frames.PREFACE + frame(frames.HEADERS, 0, 1, b"\xff" * 100),
        frames.PREFACE + frame(frames.SETTINGS) + frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
        frames.PREFACE + frame(frames.SETTINGS) + frame(frames.DATA, 0, 5, b"x"),
        frames.PREFACE + frame(frames.SETTINGS) + frame(frames.HEADERS, frames.END_HEADERS, 2, b"\x82"),
        frames.PREFACE + frame(frames.SETTINGS) + b"\xff" * 64,
        frames.PREFACE + frame(frames.SETTINGS) + frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)),
    ],
)
async def test_a_broken_connection_is_told_so_and_ends(address: str, bytes_sent: bytes) -> None:
    async with byte_client(address, opening=bytes_sent) as peer:
        assert (await peer.answer(1)).goaway is not None


async def test_who_leaves_has_its_call_cancelled_and_no_other(address: str, asked_sessions: AskedSessions) -> None:
    async with byte_client(address) as peer:
        for stream_id in (1, 3):
            peer.request(stream_id, RUN)
            peer.message(stream_id, b"")
        peer.send(frames.rst_stream(1, Code.CANCEL))
        asked_sessions.released.set()
        assert (await peer.answer(3)).status == "0"


async def test_a_stopping_server_says_that_it_is_draining(asked_sessions: AskedSessions) -> None:
    server = Server("127.0.0.1:0", {SERVICE: asked_sessions}, first_frame_timeout_s=60)
    await server.start()
    async with byte_client(server.address) as peer:
        peer.request(1, RUN)
        peer.message(1, b"")
        answering = asyncio.create_task(peer.answer(1))
        await asked_sessions.ran.wait()
        await server.stop(0)
        answer = await answering
    assert (answer.status, answer.reason) == ("14", NodeDraining.reason)
    assert answer.headers["x-agentring-moved"] == "1"
    assert server.ended.done()
