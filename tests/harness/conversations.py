"""Conversations of the command line with a server that plays a script: what it sends, and where it fails."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from grpc import aio
from rich.console import Console

from agentring.cli.terminal.conversation import Conversation
from agentring.cli.terminal.event_view import EventView
from agentring.client import Attached, RetryPolicy
from agentring.errors import AgentringError
from agentring.rpc.status import trailers
from agentring.v1.session_pb2 import (
    ConverseRequest,
    ConverseResponse,
    Event,
    Opened,
    RunTurnRequest,
    RunTurnResponse,
    TextDelta,
    TurnCompleted,
    WatchSessionRequest,
    WatchSessionResponse,
)
from agentring.v1.session_pb2_grpc import SessionServiceServicer

Step = Event | AgentringError
"""An event that is sent; an error ends the call."""
PLACE = "ada is on n1, epoch 5"
OPENED = Event(epoch=5, opened=Opened(session_id="ada", node_id="n1"))


def words(offset: int, text: str) -> Event:
    return Event(text_delta=TextDelta(offset=offset, text=text))


HELLO = (words(0, "you said"), words(8, " hello"), Event(turn_completed=TurnCompleted(text_bytes=14)))


class ScriptedServer(SessionServiceServicer):
    """Plays one script a call; an event's seq is its place in it."""

    def __init__(self, *scripts: tuple[Step, ...]) -> None:
        self._scripts = list(scripts)
        self.turn_ids: list[str] = []
        self.answers: list[str] = []
        self.tenants: set[str] = set()

    async def Converse(
        self, request_iterator: AsyncIterator[ConverseRequest], context: "aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[ConverseResponse]:
        """Opens a session, or takes an answer."""
        frames = [frame async for frame in request_iterator]
        if len(frames) == 2:
            self.answers.append(f"{frames[1].reply.input_id}: {frames[1].reply.input.text}")
            yield ConverseResponse(through_seq=0, acked_frame=2)
            return
        async for event in self._play(context, ""):
            yield ConverseResponse(through_seq=0, acked_frame=1, events=[event])

    async def RunTurn(
        self, request: RunTurnRequest, context: "aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[RunTurnResponse]:
        """Runs a turn."""
        self.turn_ids.append(request.turn.turn_id)
        async for event in self._play(context, request.turn.turn_id):
            yield RunTurnResponse(through_seq=event.seq, acked_frame=1, events=[event])

    async def WatchSession(
        self, request: WatchSessionRequest, context: "aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[WatchSessionResponse]:
        """Sends the events of a turn that others began."""
        async for event in self._play(context, "earlier"):
            if event.HasField("turn_started"):
                event.turn_id = self.turn_ids[-1]
            yield WatchSessionResponse(through_seq=event.seq, acked_frame=1, events=[event])

    async def _play(self, context: "aio.ServicerContext[Any, Any]", turn_id: str) -> AsyncIterator[Event]:
        found = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        self.tenants.add(found.get("x-tenant-id", ""))
        for seq, step in enumerate(self._scripts.pop(0), 1):
            if isinstance(step, AgentringError):
                context.set_trailing_metadata(trailers(step))
                await context.abort(step.code, step.sentence)
            if isinstance(step, Event):
                event = Event()
                event.CopyFrom(step)
                event.seq, event.epoch, event.attempt, event.turn_id = (seq if turn_id else 0), 5, 1, turn_id
                yield event


class Talk:
    """A conversation with a scripted server, and what it shows."""

    def __init__(self, address: str, server: ScriptedServer, policy: RetryPolicy) -> None:
        self.address = address
        self.server = server
        self.file = io.StringIO()
        view = EventView(Console(file=self.file, markup=False, highlight=False, width=200), "ada")
        self.conversation = Conversation(address, "ada", "assistant", "acme", view, policy)

    async def say(self, text: str, answer: str | None = "blue") -> bool:
        """Runs a turn; questions are answered so."""

        async def ask() -> str | None:
            return answer

        return await self.conversation.run_turn(text, ask)

    async def finish(self, attached: Attached, answer: str | None = "blue") -> bool:
        """Answers what was open, and follows its turn."""

        async def ask() -> str | None:
            return answer

        (question,) = attached.questions
        return await self.conversation.finish_turn(question, attached.head_seq, ask)

    @property
    def shown(self) -> list[str]:
        """The lines that were shown."""
        return self.file.getvalue().splitlines()


async def at_once(_wait_s: float) -> None:
    """Waits for nothing."""


Talking = Callable[..., Awaitable[Talk]]
