"""A service that knows nothing of routers: it says what it says when it likes, and is heard as if it stood alone."""

from __future__ import annotations  # grpc's classes are generic only in their stubs

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import aio

from harness.hosted import HostedService

SERVICE = "/interop.v1.EchoService/"
ROUTE = (("x-session-id", "answers"),)
TIMEOUT_S = 20.0
CHUNK = bytes(range(256)) * 256
"""64 KiB."""


@pytest.fixture
async def channel(hosted: HostedService) -> AsyncIterator[aio.Channel]:
    """One connection to the router."""
    options = (("grpc.max_metadata_size", 1 << 20), ("grpc.max_receive_message_length", -1))
    async with aio.insecure_channel(hosted.router, options=options) as made:
        yield made


def call(channel: aio.Channel, method: str, *metadata: tuple[str, str]) -> aio.StreamStreamCall[bytes, bytes]:
    return channel.stream_stream(SERVICE + method)(metadata=(*ROUTE, *metadata), timeout=TIMEOUT_S)


async def test_an_upload_that_is_answered_at_its_end_alone(channel: aio.Channel) -> None:
    upload = call(channel, "ClientStream", ("silent", "1"))
    for _ in range(80):
        await upload.write(CHUNK)
    await upload.done_writing()
    assert await upload.read() == CHUNK * 80
    assert await upload.code() is grpc.StatusCode.OK


async def test_headers_that_come_long_before_the_first_message(channel: aio.Channel) -> None:
    waiting = call(channel, "Ignore", ("echo-text", "now"))
    assert ("echo-text", "now") in tuple(await waiting.initial_metadata())
    waiting.cancel()


@pytest.mark.parametrize("silent", [(), (("silent", "1"),)])
async def test_trailers_too_long_for_a_router_cost_no_other_call(
    channel: aio.Channel, silent: tuple[tuple[str, str], ...]
) -> None:
    neighbour = call(channel, "BidiStream")
    await neighbour.write(b"before")
    assert await neighbour.read() == b"before"
    long = call(channel, "BidiStream", ("trailer-bytes", "100000"), *silent)
    await long.done_writing()
    assert await long.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "trailers of more than 64 KiB" in await long.details()
    await neighbour.write(b"after")
    assert await neighbour.read() == b"after"
    neighbour.cancel()
