"""A SessionService beside which a neighbour is served, whatever its clients send."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from agentring.rpc.service import Call
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import GetSessionRequest, GetSessionResponse, RunTurnRequest, RunTurnResponse
from harness.byte_client import USUAL, Answer, byte_client

SERVICE = session_pb2.DESCRIPTOR.services_by_name["SessionService"]

GET, RUN, CONVERSE = (f"/agentring.v1.SessionService/{name}" for name in ("GetSession", "RunTurn", "Converse"))

REQUEST = GetSessionRequest(session_id="s").SerializeToString()


class AskedSessions:
    """Answers at once, but for a turn, which waits until `released`."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.runs = 0
        self.ran = asyncio.Event()

    async def GetSession(self, request: GetSessionRequest, _call: Call) -> GetSessionResponse:
        return GetSessionResponse(session=session_pb2.Session(session_id=request.session_id))

    async def RunTurn(self, _request: RunTurnRequest, call: Call) -> None:
        self.runs += 1
        self.ran.set()
        await call.accept()
        await self.released.wait()
        await call.send(RunTurnResponse(through_seq=1, acked_frame=0))

    async def Converse(self, requests: AsyncIterator[session_pb2.ConverseRequest], call: Call) -> None:
        count = len([request async for request in requests])
        await call.send(session_pb2.ConverseResponse(through_seq=count, acked_frame=0))


async def asked(
    address: str, *more: tuple[str, str], path: str = GET, body: bytes = REQUEST, line: Mapping[str, str] = USUAL
) -> Answer:
    """A unary call on a connection of its own."""
    async with byte_client(address) as peer:
        peer.request(1, path, *more, line=line)
        peer.message(1, body)
        return await peer.answer(1)
