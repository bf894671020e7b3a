"""Services that a test scripts, or that a test sends whatever it likes."""

from collections.abc import AsyncIterator

import pytest
import structlog
from grpc import aio

from agentring.rpc.server import Server
from agentring.v1.session_pb2 import GetSessionRequest, GetSessionResponse
from harness.asked_sessions import RUN, SERVICE, AskedSessions, asked
from harness.byte_client import byte_client
from harness.raw import exchange
from harness.scripted_sessions import GET, Sessions, responds_with, responses_of, serving


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
async def channel(sessions: Sessions) -> AsyncIterator[aio.Channel]:
    """To a server of `sessions`; it must still be serving when the test is over."""
    async with serving(sessions) as (_, channel):
        yield channel
        sessions.get = responds_with(GetSessionResponse())
        assert await responses_of(exchange(channel, GET, GetSessionRequest())) == [b""]


@pytest.fixture
def asked_sessions() -> AskedSessions:
    return AskedSessions()


@pytest.fixture
async def address(asked_sessions: AskedSessions) -> AsyncIterator[str]:
    """Of a server with a neighbour: a call that is open before the test begins and is served to its end afterwards, as
    is a new one; nothing that the test sends is a fault of ours."""
    server = Server("127.0.0.1:0", {SERVICE: asked_sessions}, first_frame_timeout_s=1.0)
    await server.start()
    with structlog.testing.capture_logs() as logged:
        try:
            async with byte_client(server.address) as neighbour:
                neighbour.request(1, RUN)
                neighbour.message(1, b"")
                yield server.address
                asked_sessions.released.set()
                assert (await neighbour.answer(1)).status == "0"
                assert (await asked(server.address)).status == "0"
                assert not server.ended.done()
        finally:
            await server.stop(0)
    assert [each for each in logged if each["log_level"] in ("error", "critical")] == []
