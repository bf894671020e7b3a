"""One session, spoken with over Converse: turns go in, events come out, and a lost connection is made again.

Guarantees that a turn runs once however often the connection is lost: it is resent with its turn_id until it has ended.
Waits between tries grow; after `RECONNECT_S` without an answer the error is told. Not for several turns at a time:
`run_turn` ends before the next may begin. Called by `chat`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeVar
from uuid import uuid4

import grpc
from grpc import aio

from agentring.cli.calls import explain, tenant_metadata
from agentring.cli.errors import CallFailed
from agentring.cli.screen import Screen
from agentring.metadata import EPOCH, NODE
from agentring.rpc.status import is_status_lost
from agentring.v1.session_pb2 import Cancel, ConverseRequest, ConverseResponse, Event, Input, Open, Reply, Turn

if TYPE_CHECKING:
    from agentring.v1.session_pb2_grpc import SessionServiceAsyncStub

ATTACH_DEADLINE_S = 15.0
SILENCE_S = 120.0
RECONNECT_S = 60.0
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 1.0
_CLOSE_DEADLINE_S = 2.0
_ENDS = ("turn_completed", "turn_failed", "turn_cancelled", "turn_rejected")

_Stream: TypeAlias = "aio.StreamStreamCall[ConverseRequest, ConverseResponse]"
_T = TypeVar("_T")


@dataclass(eq=False)
class _StreamLost(Exception):
    """The stream ended before the turn did; what was under way is to be done again on another one."""

    failure: CallFailed


class Conversation:
    """A session, as one client speaks with it. Who makes one calls `close`."""

    def __init__(
        self, stub: "SessionServiceAsyncStub", router: str, opening: Open, tenant: str, screen: Screen
    ) -> None:
        """Nothing is sent yet."""
        self._stub = stub
        self._router = router
        self._opening = opening
        self._tenant = tenant
        self._screen = screen
        self._stream: _Stream | None = None
        self._early: list[Event] = []
        self._lost_since: float | None = None

    async def attach(self) -> None:
        """Attaches to the session, which is made if it does not exist. Raises CallFailed."""
        await self._until_done(self._attached)

    async def run_turn(self, text: str, ask: Callable[[], Awaitable[str | None]]) -> bool:
        """Runs one turn to its end and shows it; whether it completed. `ask` answers the agent's questions.

        Raises CallFailed. Cancellation: the turn goes on without us.
        """
        turn = Turn(turn_id=uuid4().hex, input=Input(text=text))
        self._screen.begin_turn()
        return await self._until_done(lambda: self._speak(turn, ask))

    async def close(self) -> None:
        """Ends the stream, in good order if that is quick."""
        if self._stream is None:
            return
        with suppress(aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            async with asyncio.timeout(_CLOSE_DEADLINE_S):
                await self._stream.done_writing()
                while await self._stream.read() is not aio.EOF:
                    pass
        self._stream.cancel()

    async def _until_done(self, step: Callable[[], Awaitable[_T]]) -> _T:
        wait_s = _FIRST_WAIT_S
        now = asyncio.get_running_loop().time
        while True:
            try:
                return await step()
            except _StreamLost as lost:
                if self._stream is not None:
                    self._stream.cancel()
                    self._stream = None
                if self._lost_since is None:
                    self._lost_since = now()
                    wait_s = _FIRST_WAIT_S
                    self._screen.note(f"({lost.failure.reason or 'the connection was lost'}; trying again)")
                elif now() - self._lost_since > RECONNECT_S:
                    raise lost.failure from None
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _LONGEST_WAIT_S)

    async def _speak(self, turn: Turn, ask: Callable[[], Awaitable[str | None]]) -> bool:
        stream = await self._attached()
        await self._write(stream, ConverseRequest(turn=turn))
        while True:
            events, self._early = self._early or await self._read(stream, SILENCE_S), []
            for event in events:
                body = event.WhichOneof("body")
                if body == "go_away":
                    raise _StreamLost(CallFailed(self._router, "UNAVAILABLE", event.go_away.reason, "the router stops"))
                # Other clients' turns are no concern of ours; a rejection is always of our own frame.
                if event.turn_id != turn.turn_id and body != "turn_rejected":
                    continue
                self._lost_since = None
                self._screen.show(event)
                if body in _ENDS:
                    return body == "turn_completed"
                if body == "input_required":
                    await self._answer(stream, event, await ask())

    async def _answer(self, stream: _Stream, question: Event, answer: str | None) -> None:
        if answer is None:
            await self._write(stream, ConverseRequest(cancel=Cancel(turn_id=question.turn_id)))
        else:
            reply = Reply(input_id=question.input_required.input_id, input=Input(text=answer))
            await self._write(stream, ConverseRequest(reply=reply))

    async def _attached(self) -> _Stream:
        """The stream, opened if there is none that lives."""
        if self._stream is not None and not self._stream.done():
            return self._stream
        stream = self._stub.Converse(metadata=tenant_metadata(self._tenant))
        try:
            await self._write(stream, ConverseRequest(open=self._opening))
            self._early = await self._read(stream, ATTACH_DEADLINE_S)
        except _StreamLost as lost:
            stream.cancel()
            if self._stream is None and self._lost_since is None and not lost.failure.reason:
                # Nobody has ever answered at this address: that is not a connection lost, but a wrong address.
                raise lost.failure from None
            raise
        self._stream = stream
        found = {name: value for name, value in await stream.initial_metadata() if isinstance(value, str)}
        if found.get(EPOCH, "").isdecimal():
            self._screen.show_place(found.get(NODE, ""), int(found[EPOCH]))
        return stream

    async def _write(self, stream: _Stream, frame: ConverseRequest) -> None:
        try:
            async with asyncio.timeout(ATTACH_DEADLINE_S):
                await stream.write(frame)
        except (aio.AioRpcError, asyncio.InvalidStateError):
            await self._raise_status(stream)
        except TimeoutError:
            self._raise_silence(stream, ATTACH_DEADLINE_S)

    async def _read(self, stream: _Stream, deadline_s: float) -> list[Event]:
        try:
            async with asyncio.timeout(deadline_s):
                response = await stream.read()
        except aio.AioRpcError:
            await self._raise_status(stream)
        except TimeoutError:
            self._raise_silence(stream, deadline_s)
        if not isinstance(response, ConverseResponse):  # EOF
            await self._raise_status(stream)
        return list(response.events)

    async def _raise_status(self, stream: _Stream) -> NoReturn:
        # Asked of the call itself: a write that fails, and the end of what is read, do not say why.
        code, details = await stream.code(), await stream.details()
        error = aio.AioRpcError(code, aio.Metadata(), await stream.trailing_metadata(), details)
        failure = explain(self._router, error)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK) or is_status_lost(error):
            raise _StreamLost(failure)
        raise failure

    def _raise_silence(self, stream: _Stream, deadline_s: float) -> NoReturn:
        stream.cancel()
        raise _StreamLost(CallFailed(self._router, "UNAVAILABLE", "", f"no answer within {deadline_s:g} s"))
