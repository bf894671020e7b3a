"""`python -m benchmarks.turns.handler PORT`: RunTurn as a bare handler of grpc.aio's, the yardstick behind Envoy.

It does what the agent does, in a dictionary of the process, and answers in one message; it promises nothing.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
import uvloop
from grpc import aio

from agentring.v1 import session_pb2
from benchmarks.turns.agent import PIECES

_INPUTS = 10


class Handler:
    """The one method that is asked for."""

    def __init__(self) -> None:
        self._states: dict[str, list[str]] = {}

    async def run_turn(
        self, request: session_pb2.RunTurnRequest, _context: object
    ) -> AsyncIterator[session_pb2.RunTurnResponse]:
        """One message: the text, and that the turn was completed."""
        inputs = self._states.setdefault(request.session_id, [])
        inputs.append(request.turn.input.text)
        del inputs[:-_INPUTS]
        text = session_pb2.Event(seq=1, text_delta=session_pb2.TextDelta(text="".join(PIECES)))
        done = session_pb2.Event(seq=2, turn_completed=session_pb2.TurnCompleted())
        yield session_pb2.RunTurnResponse(through_seq=2, acked_frame=1, events=[text, done])


async def serve(port: int) -> None:
    """Serves until it is ended."""
    server = aio.server()
    method = grpc.unary_stream_rpc_method_handler(
        Handler().run_turn,
        session_pb2.RunTurnRequest.FromString,
        session_pb2.RunTurnResponse.SerializeToString,
    )
    services = (grpc.method_handlers_generic_handler("agentring.v1.SessionService", {"RunTurn": method}),)
    server.add_generic_rpc_handlers(services)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(f'{{"ready": true, "address": "127.0.0.1:{port}"}}', flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
