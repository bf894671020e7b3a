"""A stream on which nothing is said: gRPC's own servers, as they come, end a connection for the PINGs of a router that
asks too often, and a server that has died is noticed all the same."""

from __future__ import annotations  # grpc's classes are generic only in their stubs

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc import aio

from harness.hosted import HostedService

HOLD = "/interop.v1.EchoService/Hold"
KEEPALIVE_S = 0.2
QUIET_S = 6.0
"""A router may ask each second; the fourth time is too often."""
TIMEOUT_S = 20.0


@pytest.fixture
def impatient(etcd_url: str, tmp_path: Path) -> Iterator[HostedService]:
    """A router that asks often, before a server of grpc's that permits what is permitted by default."""
    flags = (f"--node-keepalive-s={KEEPALIVE_S}", "--keepalive-timeout-s=1")
    service = HostedService(etcd_url, tmp_path, "interop.backend", router_flags=flags)
    yield service
    service.stop()


async def held(channel: aio.Channel) -> aio.StreamStreamCall[bytes, bytes]:
    """A call that is open and has had an answer."""
    call: aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(HOLD)(
        metadata=(("x-session-id", "quiet"),), timeout=TIMEOUT_S
    )
    await call.write(b"hello")
    assert await call.read() == b"hello"
    return call


async def test_a_quiet_stream_outlives_many_pings_time(impatient: HostedService) -> None:
    async with aio.insecure_channel(impatient.router) as channel:
        call = await held(channel)
        ended = asyncio.ensure_future(call.code())
        done, _ = await asyncio.wait([ended], timeout=QUIET_S)
        assert not done, await call.details()
        await call.write(b"still there")
        assert await call.read() == b"still there"
        call.cancel()
        await asyncio.wait([ended])
    assert "too_many_pings" not in impatient.router_log.read_text()


async def test_a_server_that_stands_still_is_noticed_by_a_call_that_waits(impatient: HostedService) -> None:
    async with aio.insecure_channel(impatient.router) as channel:
        call = await held(channel)
        impatient.backend.freeze()
        try:
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
        finally:
            impatient.backend.send(signal.SIGCONT)
