"""A session, as its client holds it: a name and what can be done under it.

Guarantees that a turn runs once, however often its connection is lost: it is sent again with its turn_id, which the
node answers with the turn's events from the first. Nothing is sent before something is asked for, so a Session costs
nothing. Made by ring.py.
"""

from collections.abc import Sequence
from enum import Enum
from uuid import uuid4

from grpc import aio

from agentring.client.converse import Attached, attach, reply
from agentring.client.events import Event
from agentring.client.files import get_file, put_file
from agentring.client.inputs import File, FilePart, Json, SentPart, to_file, to_input
from agentring.client.session_info import SessionInfo, to_session_info
from agentring.client.streams import Call, Connection, EventStream, Metadata
from agentring.client.turn_stream import Outcome, RunStream
from agentring.client.unary import call
from agentring.durations import to_duration
from agentring.ids import parse_session, parse_turn_id
from agentring.v1 import session_pb2
from agentring.v1.session_pb2_grpc import SessionServiceStub


class OnBusy(Enum):
    """What to do with a turn that arrives while another one runs."""

    ENQUEUE = session_pb2.ON_BUSY_ENQUEUE
    REJECT = session_pb2.ON_BUSY_REJECT
    """Raises TurnInProgress."""
    INTERRUPT = session_pb2.ON_BUSY_INTERRUPT


class TurnState(Enum):
    """How far a turn has come."""

    UNKNOWN = session_pb2.TURN_STATE_UNSPECIFIED
    ACCEPTED = session_pb2.TURN_STATE_ACCEPTED
    RUNNING = session_pb2.TURN_STATE_RUNNING
    COMPLETED = session_pb2.TURN_STATE_COMPLETED
    FAILED = session_pb2.TURN_STATE_FAILED
    CANCELLED = session_pb2.TURN_STATE_CANCELLED


class Turn(RunStream):
    """The events of one turn, by `async for`; leaving it early does not cancel the turn."""

    def __init__(self, session: "Session", turn: session_pb2.Turn, contents: Sequence[bytes] = ()) -> None:
        """contents: of the files that the session must have first. Nothing is sent yet."""
        self._session = session
        self._contents = list(contents)
        self.turn_id = turn.turn_id
        request = session_pb2.RunTurnRequest(
            session_id=session.session_id, agent=session.agent, turn=turn, keeps_valid=True
        )

        def start(channel: aio.Channel, metadata: Metadata, _seq: int | None) -> Call:
            return SessionServiceStub(channel).RunTurn(request, metadata=metadata)

        super().__init__(session.connection, start, session.ref)

    async def __anext__(self) -> Event:
        """As RunStream. Raises InvalidFile, FilesFull, too."""
        while self._contents:
            await put_file(self._session, self._contents[-1])
            self._contents.pop()
        return await super().__anext__()

    async def cancel(self) -> TurnState:
        """As Session.cancel."""
        return await self._session.cancel(self.turn_id)

    async def reply(self, input_id: str, text: str = "", *, data: dict[str, Json] | None = None) -> None:
        """As Session.reply."""
        await self._session.reply(input_id, text, data=data)


class SubmittedTurn:
    """A turn that was handed in, and whose events nobody reads meanwhile.

        ticket = await session.submit("write the report", turn_id="report-7")
        ...
        if await ticket.poll() is TurnState.COMPLETED:
            print((await ticket.outcome()).text)

    Another program goes on with `session.submit` or `session.send`: the same turn_id with the same input is not run
    again.
    """

    def __init__(self, session: "Session", turn: session_pb2.Turn, accepted: session_pb2.SubmitTurnResponse) -> None:
        """Made by Session.submit."""
        self._session = session
        self._turn = turn
        self.turn_id = turn.turn_id
        self.accepted_seq = accepted.accepted_seq
        """The number of its first event: `session.watch(accepted_seq - 1)` sees the whole turn."""
        self.state = TurnState(accepted.state)
        """How far it was when this was last asked."""

    async def poll(self) -> TurnState:
        """How far it is now. Raises SessionNotFound, SessionClosed, and what every call can end with."""
        self.state = TurnState((await _hand_in(self._session, self._turn)).state)
        return self.state

    def follow(self) -> Turn:
        """Its events, from the first to its end, as Session.send."""
        return Turn(self._session, self._turn)

    async def outcome(self) -> Outcome:
        """How it ended, once it has. Raises RunFailed, RunCancelled, and what `send` raises. Cancellation: the turn
        goes on."""
        async with self.follow() as turn:
            return await turn.outcome()

    async def cancel(self) -> TurnState:
        """As Session.cancel."""
        return await self._session.cancel(self.turn_id)


class Session:
    """A session by its name."""

    def __init__(self, connection: Connection, session_id: str, agent: str) -> None:
        """agent: what a new session is bound to; empty: it must exist. Raises InvalidSessionId."""
        self.connection = connection
        self.ref = parse_session(connection.routers.tenant, session_id)
        self.session_id = self.ref.session_id
        self.agent = agent

    def send(
        self,
        text: str | Sequence[SentPart] = "",
        *,
        data: dict[str, Json] | None = None,
        turn_id: str = "",
        on_busy: OnBusy = OnBusy.ENQUEUE,
        timeout_s: float | None = None,
    ) -> Turn:
        """A turn, to be iterated: it is sent when its first event is asked for.

        text: or parts, in their order: str, TextPart, JsonPart, File (which is put before), FilePart (which was put).
        turn_id: the same one with the same input is not run again, its events are sent again; empty: a fresh one.
        timeout_s: how long each run of it may take, without the time in which it waits for an answer; then it fails
        (TURN_DEADLINE). None: what the agent declares, or else the node's.

        Raises InvalidTurnId. Iterating raises InvalidTimeout, AgentNotFound, AgentMismatch, SessionClosed,
        TurnInProgress, MailboxFull, TurnIdReused, and what every call can end with.
        """
        return Turn(self, *self._turn(text, data, turn_id, on_busy, timeout_s))

    async def run(
        self,
        text: str | Sequence[SentPart] = "",
        *,
        data: dict[str, Json] | None = None,
        turn_id: str = "",
        on_busy: OnBusy = OnBusy.ENQUEUE,
        timeout_s: float | None = None,
    ) -> Outcome:
        """Runs a turn to its end. Raises RunFailed, RunCancelled, and what `send` raises. Cancellation: the turn goes
        on."""
        async with self.send(text, data=data, turn_id=turn_id, on_busy=on_busy, timeout_s=timeout_s) as turn:
            return await turn.outcome()

    async def submit(
        self,
        text: str | Sequence[SentPart] = "",
        *,
        data: dict[str, Json] | None = None,
        turn_id: str = "",
        on_busy: OnBusy = OnBusy.ENQUEUE,
        timeout_s: float | None = None,
    ) -> SubmittedTurn:
        """Hands in a turn, and returns once it is accepted: it runs to its end whoever listens. Raises what `send`
        does. Cancellation: it may be accepted all the same; the same turn_id tells."""
        turn, contents = self._turn(text, data, turn_id, on_busy, timeout_s)
        for content in contents:
            await put_file(self, content)
        return SubmittedTurn(self, turn, await _hand_in(self, turn))

    async def open(self) -> Attached:
        """Makes it, if it does not exist, and says where it is. Raises AgentNotFound, AgentMismatch, SessionClosed."""
        return await attach(self.connection, session_pb2.Open(session_id=self.session_id, agent=self.agent))

    async def cancel(self, turn_id: str) -> TurnState:
        """Cancels a turn that waits or runs; CANCELLED, or how it had ended before. Raises SessionNotFound,
        TurnNotFound."""
        request = session_pb2.CancelTurnRequest(session_id=self.session_id, agent=self.agent, turn_id=turn_id)

        async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> session_pb2.CancelTurnResponse:
            return await SessionServiceStub(channel).CancelTurn(request, metadata=metadata, timeout=timeout)

        return TurnState((await call(self.connection.routers, self.connection.policy, try_once)).state)

    async def reply(self, input_id: str, text: str = "", *, data: dict[str, Json] | None = None) -> None:
        """Answers a question (InputRequired); returns once the answer is safe. Raises InputNotFound where nobody waits
        for it, InputAnswered where something else was answered before. A volatile store forgets a turn's questions with
        its end: InputNotFound may then be the end of an answer that was taken, and whose connection was lost."""
        opening = session_pb2.Open(session_id=self.session_id, agent=self.agent)
        await reply(self.connection, opening, session_pb2.Reply(input_id=input_id, input=to_input(text, data)[0]))

    def watch(self, after_seq: int | None = None) -> EventStream:
        """The session's events, of all turns, without end: those after a seq; None: from now on; 0: all that are kept.

        Iterating raises SessionNotFound, SessionClosed, and ResumeOffsetExpired where what comes after after_seq is not
        kept. Where that happens later, after a lost connection, a Gap says what is missing.
        """

        def start(channel: aio.Channel, metadata: Metadata, seq: int | None) -> Call:
            request = session_pb2.WatchSessionRequest(
                session_id=self.session_id, agent=self.agent, after_seq=seq, keeps_valid=True
            )
            return SessionServiceStub(channel).WatchSession(request, metadata=metadata)

        return EventStream(self.connection, start, after_seq)

    async def get(self) -> SessionInfo:
        """What is known of it. Raises SessionNotFound."""
        request = session_pb2.GetSessionRequest(session_id=self.session_id, agent=self.agent)

        async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> session_pb2.GetSessionResponse:
            return await SessionServiceStub(channel).GetSession(request, metadata=metadata, timeout=timeout)

        return to_session_info((await call(self.connection.routers, self.connection.policy, try_once)).session)

    async def close(self) -> None:
        """Closes it for good: its turns are cancelled, its streams end with SessionClosed. Closing it again changes
        nothing. Raises SessionNotFound."""
        request = session_pb2.CloseSessionRequest(session_id=self.session_id, agent=self.agent)

        async def try_once(
            channel: aio.Channel, metadata: Metadata, timeout: float
        ) -> session_pb2.CloseSessionResponse:
            return await SessionServiceStub(channel).CloseSession(request, metadata=metadata, timeout=timeout)

        await call(self.connection.routers, self.connection.policy, try_once)

    async def put_file(self, file: File) -> FilePart:
        """Puts a file, to which inputs may refer for an hour at least: `send` does so by itself with a File. Raises
        InvalidFile, FilesFull, OSError, and what `open` raises."""
        part, content = to_file(file)
        await put_file(self, content)
        return part

    async def get_file(self, file: FilePart) -> bytes:
        """The content of a file that the session has, as an event or an input refers to it. Raises FileNotFound where
        it does not have it (any more), SessionNotFound."""
        return await get_file(self, file.sha256)

    def _turn(
        self,
        text: str | Sequence[SentPart],
        data: dict[str, Json] | None,
        turn_id: str,
        on_busy: OnBusy,
        timeout_s: float | None,
    ) -> tuple[session_pb2.Turn, list[bytes]]:
        made, contents = to_input(text, data)
        turn = session_pb2.Turn(turn_id=parse_turn_id(turn_id or uuid4().hex), input=made, on_busy=on_busy.value)
        if timeout_s is not None:
            turn.timeout.CopyFrom(to_duration(timeout_s))
        return turn, contents


async def _hand_in(session: Session, turn: session_pb2.Turn) -> session_pb2.SubmitTurnResponse:
    request = session_pb2.SubmitTurnRequest(session_id=session.session_id, agent=session.agent, turn=turn)

    async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> session_pb2.SubmitTurnResponse:
        return await SessionServiceStub(channel).SubmitTurn(request, metadata=metadata, timeout=timeout)

    return await call(session.connection.routers, session.connection.policy, try_once)
