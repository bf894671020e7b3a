"""A client that leaves, that is out of time or that does not read, as a service's method sees it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import structlog
from grpc import StatusCode, aio

from agentring.rpc.service import Call
from agentring.v1.session_pb2 import (
    ConverseRequest,
    RunTurnRequest,
)
from harness.raw import (
    exchange,
    status_of,
)
from harness.scripted_sessions import (
    CONVERSE,
    PATIENCE_S,
    RUN,
    Sessions,
    Watched,
    response,
    responses_of,
    work,
)


async def _read_all(requests: AsyncIterator[ConverseRequest], _call: Call) -> None:
    async for _ in requests:
        pass
    await asyncio.Event().wait()  # a half-close would end up here too


async def _flood(_requests: object, call: Call) -> None:
    while True:
        await call.send(response(1, "x" * 100_000))


@pytest.mark.parametrize("body", [_read_all, work, _flood])
async def test_a_cancelled_stream_reaches_its_handler(
    sessions: Sessions, channel: aio.Channel, body: Callable[[Any, Call], Awaitable[None]]
) -> None:
    """Whether it waits for the client, for something else, or for a client that does not read."""
    handler = sessions.converse = Watched(body)
    with structlog.testing.capture_logs() as logged:
        stream: Any = channel.stream_stream(CONVERSE)(timeout=PATIENCE_S)
        await stream.write(b"")
        async with asyncio.timeout(PATIENCE_S):
            await handler.begun.wait()
            stream.cancel()
            assert await handler.ended == "CancelledError"
    assert logged == []


async def test_a_deadline_reaches_the_handler_as_its_cancellation(sessions: Sessions, channel: aio.Channel) -> None:
    handler = sessions.run = Watched(work)
    ended = await status_of(exchange(channel, RUN, b"", timeout_s=0.2))
    assert ended.code() is StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(PATIENCE_S):
        assert await handler.ended == "CancelledError"


async def test_a_handler_waits_while_the_client_does_not_read(sessions: Sessions, channel: aio.Channel) -> None:
    sent = 0
    stuck = asyncio.Event()

    async def flood(_request: RunTurnRequest, call: Call) -> None:
        nonlocal sent
        for _ in range(200):
            sending = asyncio.ensure_future(call.send(response(1, "x" * 100_000)))
            await asyncio.wait([sending], timeout=0.2)
            if not sending.done():
                stuck.set()
            await sending
            sent += 1

    sessions.run = flood
    call = exchange(channel, RUN, b"")
    async with asyncio.timeout(PATIENCE_S):
        await stuck.wait()
        assert sent < 200
        assert len(await responses_of(call)) == 200
