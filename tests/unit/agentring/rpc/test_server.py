"""A server from its address to its stop, and what reflection lists of it."""

import asyncio
from pathlib import Path

import pytest
from grpc import StatusCode
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from agentring.http2.listener import CannotListen
from agentring.rpc.server import Server
from agentring.rpc.service import Call
from agentring.v1.session_pb2 import (
    GetSessionResponse,
    RunTurnRequest,
    RunTurnResponse,
)
from harness.client import connect
from harness.raw import (
    converse,
    exchange,
    status_of,
)
from harness.scripted_sessions import (
    DESCRIPTOR,
    GET,
    PATIENCE_S,
    RUN,
    SECRET,
    Sessions,
    Watched,
    raises,
    responds_with,
    responses_of,
    serving,
    work,
)


async def test_a_stopping_server_lets_calls_end_within_its_grace(sessions: Sessions) -> None:
    released = asyncio.Event()

    async def run(_request: RunTurnRequest, call: Call) -> None:
        await call.accept()
        await released.wait()
        await call.send(RunTurnResponse(through_seq=1, acked_frame=0))

    sessions.run = run
    async with serving(sessions) as (server, channel):
        call = exchange(channel, RUN, b"")
        await call.initial_metadata()
        stopping = asyncio.create_task(server.stop(PATIENCE_S))
        await asyncio.sleep(0)
        released.set()
        assert len(await responses_of(call)) == 1
        async with asyncio.timeout(PATIENCE_S):
            await stopping


async def test_a_stopping_server_cancels_what_outlasts_its_grace(sessions: Sessions) -> None:
    handler = sessions.run = Watched(work)
    async with serving(sessions) as (server, channel):
        call = exchange(channel, RUN, b"")
        await call.initial_metadata()
        async with asyncio.timeout(PATIENCE_S):
            await server.stop(0)
            assert await handler.ended == "CancelledError"
        assert (await status_of(call)).code() in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)


async def test_nothing_is_left_running(sessions: Sessions) -> None:
    sessions.get = responds_with(GetSessionResponse())
    before = asyncio.all_tasks()
    async with serving(sessions) as (_, channel):
        await responses_of(exchange(channel, GET, b""))
        await status_of(exchange(channel, GET, b"\xff"))
        sessions.get = raises(ValueError(SECRET))
        await status_of(exchange(channel, GET, b""))
    async with asyncio.timeout(PATIENCE_S):
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)


async def test_it_serves_on_a_unix_socket(sessions: Sessions, tmp_path: Path) -> None:
    sessions.get = responds_with(GetSessionResponse())
    address = f"unix:{tmp_path / 's'}"
    async with serving(sessions, address) as (server, channel):
        assert server.address == address
        assert await responses_of(exchange(channel, GET, b"")) == [b""]


async def test_its_address_has_the_port_that_it_was_given(sessions: Sessions) -> None:
    async with serving(sessions) as (server, _):
        host, _, port = server.address.rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0
        with pytest.raises(CannotListen, match=f"cannot listen on {server.address}"):
            Server(server.address, {}, first_frame_timeout_s=1)


async def test_an_address_that_is_nobodys_cannot_be_listened_on() -> None:
    with pytest.raises(CannotListen):
        Server("203.0.113.1:0", {}, first_frame_timeout_s=1)


async def test_reflection_lists_what_is_served_and_what_it_is_told_to(sessions: Sessions) -> None:
    server = Server(
        "127.0.0.1:0", {DESCRIPTOR: sessions}, first_frame_timeout_s=60, reflected=["agentring.v1.TaskService"]
    )
    await server.start()
    try:
        async with connect(server.address) as channel:
            method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
            (raw,) = await responses_of(converse(channel, [ServerReflectionRequest(list_services="")], method=method))
    finally:
        await server.stop(0)
    listed = ServerReflectionResponse.FromString(raw).list_services_response.service
    assert [each.name for each in listed] == [
        "agentring.v1.SessionService",
        "agentring.v1.TaskService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
