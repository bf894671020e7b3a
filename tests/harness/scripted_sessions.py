"""A SessionService whose methods do what a test says, served over real connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.message import Message
from grpc import aio

from agentring.rpc.server import Server
from agentring.rpc.service import Call
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import (
    ConverseRequest,
    ConverseResponse,
    GetSessionRequest,
    RunTurnRequest,
)
from harness.client import connect
from harness.raw import (
    SESSIONS,
)

PATIENCE_S = 20.0

SECRET = "the-handlers-own-words-0451"

DESCRIPTOR = session_pb2.DESCRIPTOR.services_by_name["SessionService"]

GET, RUN, CONVERSE = (SESSIONS + name for name in ("GetSession", "RunTurn", "Converse"))

Handler = Callable[[Any, Call], Awaitable[Message | None]]


class Sessions:
    """A SessionService of three methods, each of which does what the test says."""

    def __init__(self) -> None:
        self.get: Handler = _unexpected
        self.run: Handler = _unexpected
        self.converse: Handler = _unexpected

    async def GetSession(self, request: GetSessionRequest, call: Call) -> Message | None:
        return await self.get(request, call)

    async def RunTurn(self, request: RunTurnRequest, call: Call) -> None:
        await self.run(request, call)

    async def Converse(self, requests: AsyncIterator[ConverseRequest], call: Call) -> None:
        await self.converse(requests, call)


async def _unexpected(*_: object) -> None:
    raise AssertionError("not to be called")


@asynccontextmanager
async def serving(
    sessions: Sessions, address: str = "127.0.0.1:0", *, first_frame_timeout_s: float = 60.0
) -> AsyncIterator[tuple[Server, aio.Channel]]:
    server = Server(address, {DESCRIPTOR: sessions}, first_frame_timeout_s=first_frame_timeout_s)
    await server.start()
    try:
        async with connect(server.address) as channel:
            yield server, channel
    finally:
        await server.stop(0)


def responds_with(response: Message | None) -> Handler:
    async def handle(_request: object, _call: Call) -> Message | None:
        return response

    return handle


def raises(error: BaseException) -> Handler:
    async def handle(_request: object, _call: Call) -> None:
        raise error

    return handle


async def responses_of(call: Any) -> list[bytes]:
    """All that a call is told, which ends with OK."""
    return [message async for message in call]


def response(seq: int, text: str = "") -> ConverseResponse:
    event = session_pb2.Event(seq=seq, text_delta=session_pb2.TextDelta(text=text))
    return ConverseResponse(through_seq=seq, acked_frame=0, events=[event])


class Watched:
    """A handler of a stream that tells when it has begun and how it ended."""

    def __init__(self, body: Callable[[Any, Call], Awaitable[None]]) -> None:
        self._body = body
        self.begun = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self, request: Any, call: Call) -> None:
        self.begun.set()
        try:
            await self._body(request, call)
        except BaseException as error:
            self.ended.set_result(type(error).__name__)
            raise
        self.ended.set_result("returned")


async def work(_requests: object, call: Call) -> None:
    await call.accept()
    await asyncio.Event().wait()
