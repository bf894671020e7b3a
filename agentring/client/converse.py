"""What only a Converse stream can do: make a session without a turn, and answer an agent's question.

Guarantees that an answer is safe when `reply` returns: its frame was acknowledged. An answer whose connection was lost
is sent again; the same one a second time changes nothing. Called by session.py.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from grpc import aio

from agentring.client.errors import UnknownFailure, to_error
from agentring.client.event_reading import read_questions
from agentring.client.events import Question
from agentring.client.streams import Connection, Metadata
from agentring.client.unary import call
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ConverseRequest, Open, Reply, TurnRejected
from agentring.v1.session_pb2_grpc import SessionServiceStub

_FRAME = 2
"""The answer's number on its stream."""


@dataclass(frozen=True, slots=True)
class Attached:
    """Where a session is."""

    session_id: str
    agent: str
    node_id: str
    epoch: int
    head_seq: int
    """The seq of its newest event; 0: none yet."""
    questions: tuple[Question, ...] = ()
    """What its running turn waits for an answer to: `Session.reply`."""


async def attach(connection: Connection, opening: Open) -> Attached:
    """Opens the session, which is made if it does not exist. Raises AgentringError, ClientError."""

    async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> Attached | None:
        stream = SessionServiceStub(channel).Converse(_frames(opening), metadata=metadata, timeout=timeout)
        try:
            async for response in stream:
                for event in response.events:
                    if event.HasField("opened"):
                        return _read_opened(event)
            return None
        finally:
            stream.cancel()

    if (attached := await call(connection.routers, connection.policy, try_once)) is None:
        raise UnknownFailure("OK", "", "the stream ended before it was opened", {})
    return attached


async def reply(connection: Connection, opening: Open, answer: Reply) -> None:
    """Sends the answer. Raises AgentringError, ClientError."""

    async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> TurnRejected | None:
        stream = SessionServiceStub(channel).Converse(
            _frames(opening, ConverseRequest(reply=answer)), metadata=metadata, timeout=timeout
        )
        try:
            async for response in stream:
                for event in response.events:
                    if event.HasField("turn_rejected") and event.turn_rejected.frame == _FRAME:
                        return event.turn_rejected
                if response.acked_frame >= _FRAME:
                    break
            return None
        finally:
            stream.cancel()

    rejected = await call(connection.routers, connection.policy, try_once)
    if rejected is not None:
        status = "RESOURCE_EXHAUSTED" if rejected.HasField("retry_delay") else "FAILED_PRECONDITION"
        sentence = f"the answer was not taken: {rejected.detail}".removesuffix(": ")
        raise to_error(rejected.reason, {}, status, sentence)


def _read_opened(event: session_pb2.Event) -> Attached:
    opened = event.opened
    return Attached(
        session_id=opened.session_id,
        agent=opened.agent,
        node_id=opened.node_id,
        epoch=event.epoch,
        head_seq=opened.head_seq,
        questions=read_questions(opened.questions),
    )


async def _frames(opening: Open, *others: ConverseRequest) -> AsyncIterator[ConverseRequest]:
    yield ConverseRequest(open=opening)
    for frame in others:
        yield frame
