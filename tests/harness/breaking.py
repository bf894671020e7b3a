"""A session service that has one turn's events and breaks its streams where the test says."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from grpc import StatusCode, aio

from agentring.errors import AgentringError, ResumeOffsetExpired
from agentring.rpc.status import trailers
from agentring.v1.session_pb2 import (
    Event,
    RunTurnRequest,
    RunTurnResponse,
    TextDelta,
    TurnAccepted,
    TurnCompleted,
    TurnStarted,
    WatchSessionRequest,
    WatchSessionResponse,
)
from agentring.v1.session_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server

Context = aio.ServicerContext[RunTurnRequest, RunTurnResponse]


def turn_events(
    turn_id: str, pieces: list[str], *, epoch: int = 7, first_seq: int = 1, attempt: int = 1
) -> list[Event]:
    """A turn that says these words."""
    head: dict[str, Any] = {"turn_id": turn_id, "epoch": epoch, "attempt": attempt}
    events = [
        Event(seq=first_seq, turn_accepted=TurnAccepted(), **head),
        Event(seq=first_seq + 1, turn_started=TurnStarted(node_id="n1"), **head),
    ]
    offset = 0
    for number, piece in enumerate(pieces, first_seq + 2):
        events.append(Event(seq=number, text_delta=TextDelta(offset=offset, text=piece), **head))
        offset += len(piece.encode())
    ended = TurnCompleted(text_bytes=offset)
    ended.result.update({"pieces": len(pieces)})
    return [*events, Event(seq=first_seq + 2 + len(pieces), turn_completed=ended, **head)]


def merged(events: list[Event], chance: random.Random) -> Iterator[Event]:
    """The same events, adjacent words put together by chance."""
    last: Event | None = None
    for event in events:
        if last and last.HasField("text_delta") and event.HasField("text_delta") and chance.random() < 0.5:
            together = Event()
            together.CopyFrom(last)
            together.first_seq, together.seq = last.first_seq or last.seq, event.seq
            together.text_delta.text += event.text_delta.text
            last = together
            continue
        if last:
            yield last
        last = event
    if last:
        yield last


class Breaking(SessionServiceServicer):
    """Tells `pieces` as the words of any turn; stream i breaks after cuts[i] events, those beyond the list never."""

    def __init__(
        self,
        pieces: list[str],
        cuts: list[int],
        *,
        error: AgentringError | None = None,
        seed: int = 0,
        lingers_s: float = 0.0,
        oldest_seq: int = 1,
    ) -> None:
        """error: what a cut stream ends with; None: it is broken off. seed: of how words are merged. lingers_s: so
        long a turn's stream stays open after its last event. oldest_seq: from here on watches are served, but for
        those from the beginning."""
        self._lingers_s = lingers_s
        self._oldest_seq = oldest_seq
        self._pieces = pieces
        self._cuts = cuts
        self._error = error
        self._chance = random.Random(seed)
        self.turn_ids: list[str] = []
        self.after_seqs: list[int | None] = []
        self.runs = 0
        self.open_calls = 0
        self.left = asyncio.Event()
        """Set when a client has gone away from a stream."""

    async def RunTurn(self, request: RunTurnRequest, context: Context) -> AsyncIterator[RunTurnResponse]:
        """From the turn's first event on."""
        turn_id = request.turn.turn_id
        if turn_id not in self.turn_ids:
            self.runs += 1
        self.turn_ids.append(turn_id)
        self.open_calls += 1
        try:
            async for event in self._received(turn_events(turn_id, self._pieces), len(self.turn_ids), context):
                yield RunTurnResponse(through_seq=event.seq, acked_frame=1, events=[event])
            if self._lingers_s:
                await asyncio.sleep(self._lingers_s)
        except asyncio.CancelledError:
            self.left.set()
            raise
        finally:
            self.open_calls -= 1

    async def WatchSession(self, request: WatchSessionRequest, context: Context) -> AsyncIterator[WatchSessionResponse]:
        """From after_seq on, and then open."""
        after_seq = request.after_seq if request.HasField("after_seq") else None
        self.after_seqs.append(after_seq)
        if after_seq and after_seq + 1 < self._oldest_seq:
            expired = ResumeOffsetExpired(self._oldest_seq, len(self._pieces) + 3)
            context.set_trailing_metadata(trailers(expired))
            await context.abort(expired.code, expired.sentence)
        events = [event for event in turn_events("t", self._pieces) if event.seq > (after_seq or 0)]
        try:
            async for event in self._received(events, len(self.after_seqs), context):
                yield WatchSessionResponse(through_seq=event.seq, acked_frame=1, events=[event])
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.left.set()
            raise

    async def _received(self, events: list[Event], number: int, context: Context) -> AsyncIterator[Event]:
        cut = self._cuts[number - 1] if number <= len(self._cuts) else None
        for place, event in enumerate(merged(events, self._chance)):
            if place == cut:
                break
            yield event
        if cut is None:
            return
        if self._error is None:
            await context.abort(StatusCode.UNAVAILABLE, "Socket closed")
        context.set_trailing_metadata(trailers(self._error))
        await context.abort(self._error.code, self._error.sentence)


def breaking(
    pieces: list[str],
    cuts: list[int],
    *,
    error: AgentringError | None = None,
    seed: int = 0,
    lingers_s: float = 0.0,
    oldest_seq: int = 1,
) -> Breaking:
    """See Breaking."""
    return Breaking(  # type: ignore[abstract]  # the other methods are not served
        pieces, cuts, error=error, seed=seed, lingers_s=lingers_s, oldest_seq=oldest_seq
    )


@asynccontextmanager
async def serving(service: SessionServiceServicer) -> AsyncIterator[str]:
    """The service's address."""
    server = aio.server()
    add_SessionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
