"""Calls that are refused: garbage, methods that nobody serves, too much of anything, and silence."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from grpc import aio

from agentring.errors import (
    AgentNotFound,
    AgentringError,
    FirstFrameTimeout,
    MalformedRequest,
    MessageTooLarge,
    MetadataTooLarge,
    MethodNotImplemented,
    NodeDraining,
    NotOwner,
    ResumeOffsetExpired,
    SessionNotFound,
)
from agentring.rpc.limits import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES
from agentring.rpc.service import Call
from agentring.v1.session_pb2 import (
    ConverseRequest,
    ConverseResponse,
    GetSessionRequest,
    GetSessionResponse,
)
from harness.raw import (
    SESSIONS,
    assert_refused,
    assert_stream_refused,
    converse,
    exchange,
    open_stream,
)
from harness.scripted_sessions import (
    CONVERSE,
    GET,
    PATIENCE_S,
    RUN,
    Sessions,
    raises,
    responds_with,
    response,
    responses_of,
    serving,
)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x0a\x02\xff\xff", b"\x0a\x05ab", b"\x0b"])
async def test_garbage_is_malformed(sessions: Sessions, channel: aio.Channel, garbage: bytes) -> None:
    """And no method of the object is called with it."""
    for method in (GET, RUN):
        await assert_refused(exchange(channel, method, garbage), MalformedRequest())
    got: list[object] = []

    async def drain(requests: AsyncIterator[ConverseRequest], call: Call) -> None:
        async for request in requests:
            got.append(request)
            await call.send(response(1))

    sessions.converse = drain
    await assert_stream_refused(channel, [garbage], MalformedRequest())
    assert got == []
    await assert_stream_refused(channel, [ConverseRequest(), garbage], MalformedRequest())
    assert got[-1] == ConverseRequest()


@pytest.mark.parametrize("method", [GET, RUN])
async def test_a_call_that_needs_a_message_and_gets_none_is_malformed(channel: aio.Channel, method: str) -> None:
    await assert_refused(converse(channel, [], method=method), MalformedRequest())


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFound(),
        NodeDraining(),
        AgentNotFound("no such agent\N{GRINNING FACE}\n"),
        NotOwner("n2", "10.0.0.2:7000", 2**62),
        NotOwner("n2", "no\nheader\N{GRINNING FACE}", 1),
        ResumeOffsetExpired(oldest_seq=3, head_seq=9),
    ],
)
@pytest.mark.parametrize("method", [GET, RUN, CONVERSE])
async def test_an_error_of_ours_is_told_as_it_is(
    sessions: Sessions, channel: aio.Channel, method: str, error: AgentringError
) -> None:
    sessions.get = sessions.run = sessions.converse = raises(error)
    with structlog.testing.capture_logs() as logged:
        await assert_refused(exchange(channel, method, b""), error)
    assert logged == []


@pytest.mark.parametrize(
    "method",
    [SESSIONS + "CloseSession", SESSIONS + "Unheard", "/agentring.v1.TaskService/RunTask", "/a/b", "/", "/x/y/z"],
)
async def test_what_is_not_served_is_unimplemented(channel: aio.Channel, method: str) -> None:
    await assert_refused(exchange(channel, method, b"\xff\xff"), MethodNotImplemented())
    await assert_stream_refused(channel, [b"", b"x"], MethodNotImplemented(), method=method)


async def test_too_many_metadata_are_refused(sessions: Sessions, channel: aio.Channel) -> None:
    sessions.get = responds_with(GetSessionResponse())
    unary: Any = channel.unary_unary(GET)
    room = MAX_METADATA_BYTES - 1_024  # for what every call carries
    assert await unary(b"", metadata=(("x-filler", "a" * room),)) == b""
    for filler in ((("x-filler", "a" * MAX_METADATA_BYTES),), tuple((f"x-{i}", "") for i in range(300))):
        await assert_refused(exchange(channel, GET, b"", metadata=filler), MetadataTooLarge())
        await assert_stream_refused(channel, [b""], MetadataTooLarge(), metadata=filler)


async def test_a_message_of_a_mebibyte_goes_through_and_no_larger_one(sessions: Sessions, channel: aio.Channel) -> None:
    def sized(length: int) -> bytes:
        message = GetSessionRequest(session_id="x" * (length - 4)).SerializeToString()
        assert len(message) == length
        return message

    sessions.get = responds_with(GetSessionResponse())
    assert await responses_of(exchange(channel, GET, sized(MAX_MESSAGE_BYTES))) == [b""]
    await assert_refused(exchange(channel, GET, sized(MAX_MESSAGE_BYTES + 1)), MessageTooLarge())
    await assert_refused(exchange(channel, GET, b"\xff" * (MAX_MESSAGE_BYTES + 1)), MessageTooLarge())

    async def drain(requests: AsyncIterator[ConverseRequest], _call: Call) -> None:
        async for _ in requests:
            pass

    sessions.converse = drain
    await assert_stream_refused(channel, [b"", b"\xff" * (MAX_MESSAGE_BYTES + 1)], MessageTooLarge())


@pytest.mark.parametrize("method", [GET, RUN, CONVERSE, SESSIONS + "Unheard"])
async def test_a_call_that_is_opened_and_silent_is_ended(sessions: Sessions, method: str) -> None:
    async with serving(sessions, first_frame_timeout_s=0.1) as (_, channel):
        await assert_refused(open_stream(channel, method=method), FirstFrameTimeout())


async def test_a_stream_that_has_spoken_may_be_silent_for_longer(sessions: Sessions) -> None:
    released = asyncio.Event()

    async def wait(requests: AsyncIterator[ConverseRequest], call: Call) -> None:
        await anext(aiter(requests))
        await call.accept()
        waited = asyncio.ensure_future(anext(aiter(requests)))
        await asyncio.wait([waited], timeout=0.2)
        assert not waited.done()
        released.set()
        await waited
        await call.send(response(1))

    sessions.converse = wait
    async with serving(sessions, first_frame_timeout_s=0.1) as (_, channel):
        stream: Any = channel.stream_stream(CONVERSE)(timeout=PATIENCE_S)
        await stream.write(b"")
        await released.wait()
        await stream.write(b"")
        assert ConverseResponse.FromString(await stream.read()).through_seq == 1
        stream.cancel()
