"""What a service's object may rely on, and what its clients see, over real connections within the test's process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc import StatusCode, aio

from agentring.rpc.service import Call
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import (
    ConverseRequest,
    ConverseResponse,
    GetSessionRequest,
    GetSessionResponse,
    RunTurnRequest,
    RunTurnResponse,
)
from harness.raw import (
    converse,
    exchange,
)
from harness.scripted_sessions import CONVERSE, GET, PATIENCE_S, RUN, Sessions, response, responses_of


async def test_a_unary_call_is_answered(sessions: Sessions, channel: aio.Channel) -> None:
    seen = []

    async def get(request: GetSessionRequest, call: Call) -> GetSessionResponse:
        seen.append((request.session_id, call.metadata["x-session-id"]))
        return GetSessionResponse(session=session_pb2.Session(session_id=request.session_id))

    sessions.get = get
    unary: Any = channel.unary_unary(GET)
    raw = await unary(GetSessionRequest(session_id="s").SerializeToString(), metadata=(("x-session-id", "s"),))
    assert GetSessionResponse.FromString(raw).session.session_id == "s"
    assert seen == [("s", "s")]


async def test_a_server_stream_tells_each_response_after_accepting(sessions: Sessions, channel: aio.Channel) -> None:
    accepted = asyncio.Event()
    sent: asyncio.Event = asyncio.Event()

    async def run(request: RunTurnRequest, call: Call) -> None:
        await call.accept(("x-agentring-node", "n1"))
        await accepted.wait()
        for seq in (1, 2):
            await call.send(RunTurnResponse(through_seq=seq, acked_frame=0))
        sent.set()

    sessions.run = run
    call = exchange(channel, RUN, RunTurnRequest(session_id="s"))
    initial = await call.initial_metadata()
    assert ("x-agentring-node", "n1") in tuple(initial or ())
    assert not sent.is_set()
    accepted.set()
    assert [RunTurnResponse.FromString(raw).through_seq for raw in await responses_of(call)] == [1, 2]


async def test_both_sides_of_a_stream_are_independent(sessions: Sessions, channel: aio.Channel) -> None:
    async def echo(requests: AsyncIterator[ConverseRequest], call: Call) -> None:
        seq = 0
        async for request in requests:
            seq += 1
            await call.send(response(seq, request.turn.input.text))
        await call.send(response(99, "half closed"))

    sessions.converse = echo
    stream: Any = channel.stream_stream(CONVERSE)(timeout=PATIENCE_S)
    for text in ("one", "two"):
        turn = session_pb2.Turn(input=session_pb2.Input(text=text))
        await stream.write(ConverseRequest(turn=turn).SerializeToString())
        (event,) = ConverseResponse.FromString(await stream.read()).events
        assert event.text_delta.text == text
    await stream.done_writing()
    (event,) = ConverseResponse.FromString(await stream.read()).events
    assert event.text_delta.text == "half closed"
    assert await stream.read() is aio.EOF
    assert await stream.code() is StatusCode.OK


async def test_metadata_are_text_by_name(sessions: Sessions, channel: aio.Channel) -> None:
    seen: dict[str, str] = {}

    async def get(_request: GetSessionRequest, call: Call) -> GetSessionResponse:
        seen.update(call.metadata)
        return GetSessionResponse()

    sessions.get = get
    unary: Any = channel.unary_unary(GET)
    await unary(b"", metadata=(("x-a", "1"), ("x-b-bin", b"\x00\xff")))
    assert seen["x-a"] == "1"
    assert "x-b-bin" not in seen


async def test_a_stream_may_be_opened_without_a_message(sessions: Sessions, channel: aio.Channel) -> None:
    async def count(requests: AsyncIterator[ConverseRequest], call: Call) -> None:
        await call.send(response(len([request async for request in requests])))

    sessions.converse = count
    (raw,) = await responses_of(converse(channel, []))
    assert ConverseResponse.FromString(raw).through_seq == 0
