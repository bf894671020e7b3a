"""The client of one session: sends its turns, one after the other, and reads each to its end.

Guarantees that every turn has an outcome, whatever the server does or leaves undone: an error ends the turn, a silent
server ends it at turn_timeout_s. A turn is never tried again. After an error the session goes on with its next turn,
on a new stream; what the new stream shows is checked against the session's owner as seen so far. Called by `schedule`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from agentring import metadata as names
from agentring.v1 import session_pb2
from benchmarks.load.checks import Coverage, Owner
from benchmarks.load.measure import Tally
from benchmarks.load.plan import Plan, Rpc
from benchmarks.load.reasons import problem_of
from benchmarks.load.turn import STREAM_ENDED, TURN_TIMEOUT, Problem, TurnOutcome, TurnReading

if TYPE_CHECKING:
    from agentring.v1.session_pb2_grpc import SessionServiceAsyncStub

STREAM_END_TIMEOUT = Problem("client", "STREAM_END_TIMEOUT")

Stubs = Callable[[int], "SessionServiceAsyncStub"]
"""The connection for the n-th call; any number is good."""

_Converse = grpc.aio.StreamStreamCall[session_pb2.ConverseRequest, session_pb2.ConverseResponse]
_RunTurn = grpc.aio.UnaryStreamCall[session_pb2.RunTurnRequest, session_pb2.RunTurnResponse]


class Session(ABC):
    """One session's calls.

    Resource handling: used by `async with`, which ends its stream and hands node and moves to the tally.
    Cancellation: the call under way is cancelled; the session must be left.
    """

    def __init__(self, plan: Plan, index: int, stubs: Stubs, tally: Tally, now: Callable[[], float]) -> None:
        """`now`: the clock of every time that is told, in seconds."""
        self._plan = plan
        self._session_id = plan.session_id(index)
        self._stubs = stubs
        self._next_stub = index
        self._tally = tally
        self._now = now
        self._metadata = grpc.aio.Metadata((names.SESSION_ID, self._session_id), (names.AGENT, plan.agent))
        self._turns_run = 0
        self._owner = Owner(may_move=tally.may_move)
        self._coverage = Coverage()

    async def __aenter__(self) -> Self:
        """Opens nothing: the first turn does, and is charged for it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the stream."""
        try:
            await self._end_stream()
        finally:
            if self._turns_run:
                self._tally.session_ended(self._owner.first_node, self._owner.moves)

    async def run_turn(self, number: int) -> TurnOutcome:
        """Sends the session's turn `number`, counted from 0, and waits for its end."""
        self._turns_run += 1
        turn = self._plan.turn(number)
        reading = TurnReading(turn.turn_id, self._now(), self._plan.tokens_expected)
        try:
            async with asyncio.timeout(self._plan.turn_timeout_s):
                await self._exchange(turn, reading)
            if not reading.ended:
                reading.problem(STREAM_ENDED)
        except grpc.aio.AioRpcError as error:
            reading.problem(problem_of(error))
            self._drop_stream()
        except TimeoutError:
            reading.problem(TURN_TIMEOUT)
            self._drop_stream()
        return reading.outcome(self._now())

    @abstractmethod
    async def _exchange(self, turn: session_pb2.Turn, reading: TurnReading) -> None:
        """Sends the turn and reads until its end, or until the stream's."""

    @abstractmethod
    async def _end_stream(self) -> None:
        """Says that no turn will follow, and sees that the server agrees."""

    @abstractmethod
    def _drop_stream(self) -> None:
        """Gives the stream up."""

    def _stub(self) -> "SessionServiceAsyncStub":
        """The connection for a new call. Each call takes the next, so that a router that has gone is left."""
        self._next_stub += 1
        return self._stubs(self._next_stub - 1)

    async def _accepted(self, call: _Converse | _RunTurn, reading: TurnReading) -> None:
        """Takes the initial metadata, which are there once the first response is."""
        headers = dict(await call.initial_metadata())
        epoch = str(headers.get(names.EPOCH, ""))
        node = str(headers.get(names.NODE, ""))
        reading.fault(self._owner.observe(node, int(epoch) if epoch.isdecimal() else 0))

    def _take(self, response: session_pb2.ConverseResponse | session_pb2.RunTurnResponse, reading: TurnReading) -> None:
        now_s = self._now()
        for event in response.events:
            node = ""
            if event.HasField("opened"):
                node = event.opened.node_id
            elif event.HasField("turn_started"):
                node = event.turn_started.node_id
            reading.fault(self._coverage.take(event))
            reading.fault(self._owner.observe(node, event.epoch))
            reading.take(event, now_s)


class ConverseSession(Session):
    """A session whose turns go over one stream."""

    _call: _Converse | None = None
    _ahead: asyncio.Task[object] | None = None
    """The read that is under way while nobody waits for it: during every write and between two turns. Without one,
    grpc.aio learns of a stream's end only by the next write, and then calls it INTERNAL, whatever the server said."""
    _headers_taken = False
    _leaving = False
    """The router has asked for another stream (`go_away`)."""

    async def _exchange(self, turn: session_pb2.Turn, reading: TurnReading) -> None:
        # What came since the last turn comes first: perhaps the router asks for another stream.
        came = self._ahead is not None and self._ahead.done()
        if self._call is not None and came and not await self._read(self._call, reading):
            self._drop_stream()
            return
        if self._leaving:
            await self._end_stream()
        call = self._call or await self._open()
        await self._write(call, session_pb2.ConverseRequest(turn=turn))
        while not reading.ended:
            if not await self._read(call, reading):
                self._drop_stream()
                return
        self._read_ahead(call)

    async def _open(self) -> _Converse:
        self._coverage = Coverage()
        self._call = call = self._stub().Converse(metadata=self._metadata)
        self._headers_taken = self._leaving = False
        opening = session_pb2.Open(session_id=self._session_id, agent=self._plan.agent)
        self._read_ahead(call)
        await self._write(call, session_pb2.ConverseRequest(open=opening))
        return call

    def _read_ahead(self, call: _Converse) -> None:
        self._ahead = asyncio.create_task(call.read())
        # Its error is told by the next turn, or by nobody if there is none.
        self._ahead.add_done_callback(lambda read: read.cancelled() or read.exception())

    async def _write(self, call: _Converse, frame: session_pb2.ConverseRequest) -> None:
        # A stream that has ended refuses the frame, but only a read says why it has ended.
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await call.write(frame)

    async def _read(self, call: _Converse, reading: TurnReading) -> bool:
        """Takes one response; False: the stream has ended."""
        ahead, self._ahead = self._ahead, None
        response = await (ahead or call.read())
        if not isinstance(response, session_pb2.ConverseResponse):
            return False
        if not self._headers_taken:
            self._headers_taken = True
            await self._accepted(call, reading)
        self._take(response, reading)
        self._leaving = self._leaving or any(event.HasField("go_away") for event in response.events)
        return True

    async def _end_stream(self) -> None:
        call, self._call, self._leaving = self._call, None, False
        if call is None:
            return
        # What still comes belongs to no turn of ours, but its numbers and its owner are checked all the same.
        rest = TurnReading("", self._now(), None)
        try:
            async with asyncio.timeout(self._plan.turn_timeout_s):
                await call.done_writing()
                while await self._read(call, rest):
                    pass
        except grpc.aio.AioRpcError as error:
            rest.problem(problem_of(error))
        except TimeoutError:
            rest.problem(STREAM_END_TIMEOUT)
        finally:
            self._cancel(call)
            self._tally.stream_ended(rest.outcome(self._now()).problems)

    def _drop_stream(self) -> None:
        call, self._call, self._leaving = self._call, None, False
        if call is not None:
            self._cancel(call)

    def _cancel(self, call: _Converse) -> None:
        call.cancel()
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None


class RunTurnSession(Session):
    """A session whose turns are calls of their own."""

    _call: _RunTurn | None = None

    async def _exchange(self, turn: session_pb2.Turn, reading: TurnReading) -> None:
        # Only a turn's own events are shown, so their numbers can be followed only within it.
        self._coverage = Coverage()
        request = session_pb2.RunTurnRequest(session_id=self._session_id, agent=self._plan.agent, turn=turn)
        self._call = call = self._stub().RunTurn(request, metadata=self._metadata)
        headers_taken = False
        while isinstance(response := await call.read(), session_pb2.RunTurnResponse):
            if not headers_taken:
                headers_taken = True
                await self._accepted(call, reading)
            self._take(response, reading)
        self._call = None

    async def _end_stream(self) -> None:
        self._drop_stream()

    def _drop_stream(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()


def session(plan: Plan, index: int, stubs: Stubs, tally: Tally, now: Callable[[], float]) -> Session:
    """The client of the session `index`, by the call that the plan names."""
    kind = ConverseSession if plan.rpc is Rpc.CONVERSE else RunTurnSession
    return kind(plan, index, stubs, tally, now)
