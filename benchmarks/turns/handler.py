"""`python -m benchmarks.turns.handler PORT`: bare handlers of grpc.aio's, the yardstick behind Envoy.

They do what the agent does, in a dictionary of the process, and answer a turn in one message; they promise nothing.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from grpc import aio

from agentring.v1 import session_pb2
from benchmarks.turns.agent import PIECES

_INPUTS = 10
_COMPLETED = session_pb2.Event(seq=2, turn_completed=session_pb2.TurnCompleted())


class Handler:
    """The methods that are asked for."""

    def __init__(self) -> None:
        self._states: dict[str, list[str]] = {}

    async def run_turn(
        self, request: session_pb2.RunTurnRequest, _context: object
    ) -> AsyncIterator[session_pb2.RunTurnResponse]:
        """One message: the text, and that the turn was completed."""
        events = self._turn(request.session_id, request.turn.input.text)
        yield session_pb2.RunTurnResponse(through_seq=2, acked_frame=1, events=events)

    async def converse(
        self, requests: AsyncIterator[session_pb2.ConverseRequest], _context: object
    ) -> AsyncIterator[session_pb2.ConverseResponse]:
        """The same for each turn of a conversation."""
        session_id = ""
        async for request in requests:
            if request.WhichOneof("frame") == "open":
                session_id = request.open.session_id
            else:
                events = self._turn(session_id, request.turn.input.text)
                yield session_pb2.ConverseResponse(through_seq=2, acked_frame=1, events=events)

    async def watch(
        self, _request: session_pb2.WatchSessionRequest, _context: object
    ) -> AsyncIterator[session_pb2.WatchSessionResponse]:
        """The end of a turn, then nothing until the caller leaves."""
        yield session_pb2.WatchSessionResponse(through_seq=2, acked_frame=1, events=[_COMPLETED])
        await asyncio.get_running_loop().create_future()

    def _turn(self, session_id: str, text: str) -> list[session_pb2.Event]:
        inputs = self._states.setdefault(session_id, [])
        inputs.append(text)
        del inputs[:-_INPUTS]
        return [session_pb2.Event(seq=1, text_delta=session_pb2.TextDelta(text="".join(PIECES))), _COMPLETED]


async def serve(port: int) -> None:
    """Serves until it is ended."""
    server = aio.server()
    handler = Handler()
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "RunTurn": grpc.unary_stream_rpc_method_handler(
            handler.run_turn,
            session_pb2.RunTurnRequest.FromString,
            session_pb2.RunTurnResponse.SerializeToString,
        ),
        "Converse": grpc.stream_stream_rpc_method_handler(
            handler.converse,
            session_pb2.ConverseRequest.FromString,
            session_pb2.ConverseResponse.SerializeToString,
        ),
        "WatchSession": grpc.unary_stream_rpc_method_handler(
            handler.watch,
            session_pb2.WatchSessionRequest.FromString,
            session_pb2.WatchSessionResponse.SerializeToString,
        ),
    }
    services = (grpc.method_handlers_generic_handler("agentring.v1.SessionService", methods),)
    server.add_generic_rpc_handlers(services)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(f'{{"ready": true, "address": "127.0.0.1:{port}"}}', flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
