"""An answer to an agent's question, over a Converse stream of its own.

Guarantees that it returns once the answer is safe: the stream ends well only when every frame was dealt with. An answer
whose connection was lost is sent again; if it is not wanted any more then, it was taken the first time. Called by
session.py.
"""

from collections.abc import AsyncIterator

from grpc import aio

from agentring.client.calls import call
from agentring.client.errors import to_error
from agentring.client.streams import Connection, Metadata
from agentring.v1.session_pb2 import ConverseRequest, Open, Reply
from agentring.v1.session_pb2_grpc import SessionServiceStub

_FRAME = 2
"""The answer's number on its stream."""


async def reply(connection: Connection, opening: Open, answer: Reply) -> None:
    """Sends the answer. Raises AgentringError, ClientError."""
    tries = 0

    async def once(channel: aio.Channel, metadata: Metadata, timeout: float) -> str:
        nonlocal tries
        tries += 1
        stream = SessionServiceStub(channel).Converse(_frames(opening, answer), metadata=metadata, timeout=timeout)
        try:
            async for response in stream:
                for event in response.events:
                    if event.HasField("turn_rejected") and event.turn_rejected.frame == _FRAME:
                        return event.turn_rejected.reason
                if response.acked_frame >= _FRAME:
                    break
            return ""
        finally:
            stream.cancel()

    reason = await call(connection.routers, connection.policy, once)
    if reason and not (reason == "INPUT_NOT_FOUND" and tries > 1):
        raise to_error(reason, {}, "FAILED_PRECONDITION", "the answer was not taken")


async def _frames(opening: Open, answer: Reply) -> AsyncIterator[ConverseRequest]:
    yield ConverseRequest(open=opening)
    yield ConverseRequest(reply=answer)
