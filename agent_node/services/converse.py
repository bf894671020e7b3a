"""One Converse stream: frames come in, events go out, each at its own pace.

Guarantees: frames are dealt with in their order, one at a time, so that a client which sends faster than the session
accepts is slowed down by gRPC's flow control; a frame that is refused is answered on the stream, which goes on; a
message that is not a proper frame ends the stream, and so does a drain, which leaves the frame to the next owner. The
reader of frames is a task of the stream's own and ends with it; turns that it has accepted run on. A stream that is
taken over (resume_point.py) is sent nothing twice and lacks nothing: frames that may have been dealt with are dealt
with again, which changes nothing where they were.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial

from agent_node.events.attachment import Attachment
from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.quota.holds import ANYBODY
from agent_node.run.call_terms import CallTerms
from agent_node.services.resume_point import ResumePoint, resume_point_of
from agent_node.services.route import asking, session_of, subject_of, terms_of
from agent_node.services.stream_holds import hold_stream
from agent_node.services.streaming import attach_to_session, stream
from agent_node.session.session import Session
from agent_node.session.turn_index import TurnEnd
from agent_node.settings import NodeSettings
from agent_node.store import StoredTurn
from agentring import metadata
from agentring.durations import to_duration
from agentring.errors import (
    AgentringError,
    FileNotFound,
    FirstFrameNotOpen,
    Halted,
    InputAnswered,
    InputNotFound,
    InvalidPart,
    InvalidTimeout,
    InvalidTurnId,
    MailboxFull,
    MalformedRequest,
    QuotaExceeded,
    SecondOpen,
    TooManyTurns,
    TurnIdReused,
    TurnInProgress,
    TurnNotFound,
)
from agentring.ids import parse_turn_id
from agentring.rpc.service import Call
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ConverseRequest, Event

_REFUSALS = (
    TurnInProgress,
    MailboxFull,
    TooManyTurns,
    TurnIdReused,
    InvalidTimeout,
    InvalidTurnId,
    TurnNotFound,
    InputNotFound,
    InputAnswered,
    InvalidPart,
    FileNotFound,
    Halted,
    QuotaExceeded,
)


async def converse(
    incarnations: IncarnationSupervisor, settings: NodeSettings, requests: AsyncIterator[ConverseRequest], call: Call
) -> None:
    """Serves one stream to its end. Raises AgentringErrors. Cancellation: accepted turns run on."""
    point = resume_point_of(call)
    opening = await _first_frame(requests, point)
    ref, agent = session_of(call, opening.session_id, opening.agent)
    incarnation = incarnations.current
    hold, wanted = None, ANYBODY
    if incarnation.quota is not None:
        wanted = asking(call, goes_on=point.is_taken_over)
        hold = await hold_stream(incarnation, ref, wanted)
    try:
        session = await incarnation.host.open(ref, agent, wanted)
        with await attach_to_session(call, incarnation, settings, session, point, opening) as attachment:
            if point.after_seq is None:
                await attachment.push([_opened(session, incarnation.registration.identity.node_id)])
            attachment.ack(max(1, point.first_frame - 1))
            stream_id = call.metadata.get(metadata.STREAM_ID) or uuid.uuid4().hex
            terms = partial(terms_of, call, settings=settings)
            frames = _Frames(session, attachment, stream_id, point, terms, subject_of(call))
            error = None
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(frames.read(requests))
                try:
                    await stream(call, attachment)
                except AgentringError as raised:
                    error = raised  # raised once the group is over, which would wrap it
                reader.cancel()
            if error is not None:
                raise error
    finally:
        if hold is not None:
            hold.release()


class _Frames:
    """The frames of one stream after the first."""

    def __init__(
        self,
        session: Session,
        attachment: Attachment,
        stream_id: str,
        point: ResumePoint,
        terms: Callable[[session_pb2.Turn], CallTerms],
        subject: str = "",
    ) -> None:
        self._subject = subject
        self._terms = terms
        self._point = point
        self._session = session
        self._attachment = attachment
        self._stream_id = stream_id
        self._sent: dict[str, TurnEnd] = {}
        """Turns of this stream that had not ended when last looked at."""
        if point.is_taken_over:
            # Whose they are is not known; those that this stream was sent before it began are not its own.
            begins_after = point.begins_after or 0
            for turn in session.turns.open:
                if turn.accepted_seq > begins_after:
                    self._sent[turn.turn_id] = session.turns.follow(turn)
        self._end_seq = session.log.head_seq

    async def read(self, requests: AsyncIterator[ConverseRequest]) -> None:
        """Deals with every frame until the client has closed its side; then the stream ends with its last turn."""
        number = max(1, self._point.first_frame - 1)
        try:
            async for request in requests:
                number += 1
                rejected = None
                try:
                    await self._deal_with(request, number)
                except _REFUSALS as refusal:
                    rejected = _rejected(refusal, number)
                if rejected is not None:
                    await self._attachment.push([Event(turn_id=_turn_id(request), turn_rejected=rejected)])
                self._attachment.ack(number)
        except AgentringError as error:
            self._attachment.fail(error)
        else:
            self._attachment.end_after(self._ends_after)

    async def _deal_with(self, request: ConverseRequest, number: int) -> None:
        match request.WhichOneof("frame"):
            case "turn":
                await self._turn(request.turn, number)
            case "cancel":
                await self._session.cancel(parse_turn_id(request.cancel.turn_id))
            case "reply":
                if (quota := self._session.env.quota) is not None:
                    tenant, size_bytes = self._session.ref.tenant, request.reply.input.ByteSize()
                    quota.spend_bytes(tenant, self._subject, size_bytes)
                await self._session.reply(request.reply.input_id, request.reply.input)
            case "ack":
                pass  # nothing is kept only until it is acknowledged
            case "open":
                raise SecondOpen
            case _:
                raise MalformedRequest

    async def _turn(self, turn: session_pb2.Turn, number: int) -> None:
        turn_id = parse_turn_id(turn.turn_id or f"{self._stream_id}.{number}")
        self._ends_after()  # forgets the turns that have ended: a stream may stay open for days
        retry = number <= self._point.last_retried
        self._attachment.sends(turn_id)
        fresh = False
        try:
            accepted, fresh = await self._session.submit(
                turn_id, turn.input, turn.on_busy, retry=retry, terms=self._terms(turn)
            )
        finally:
            if not fresh:
                self._attachment.sends_no_more(turn_id)
        self._sent[turn_id] = self._session.turns.follow(accepted)
        if not fresh:
            await self._replay(accepted, self._point.replays_through(number))

    async def _replay(self, turn: StoredTurn, through_seq: int) -> None:
        """Sends again, as far as through_seq, the turn's events that this stream will not get from the log any more."""
        if lost := self._session.missing.of(turn):
            await self._attachment.push(event for event in lost if lost[-1].seq <= through_seq)
            return
        seq, through_seq = turn.accepted_seq - 1, min(through_seq, self._attachment.through_seq)
        if turn.end_seq is not None:
            through_seq = min(through_seq, turn.end_seq)
        while seq < through_seq:
            seq, events = await self._attachment.recall(seq, through_seq)
            await self._attachment.push([each.event for each in events if each.turn_id in ("", turn.turn_id)])

    def _ends_after(self) -> int | None:
        """The last seq that this stream is owed; None: one of its turns has not ended."""
        for turn_id, end in list(self._sent.items()):
            if end.seq is None:
                return None
            self._end_seq = max(self._end_seq, end.seq)
            del self._sent[turn_id]
        return self._end_seq


async def _first_frame(requests: AsyncIterator[ConverseRequest], point: ResumePoint) -> session_pb2.Open:
    request = await anext(requests, None)
    if request is not None and point.first_frame > 1:
        return session_pb2.Open()  # it was acknowledged, and the router names the session
    if request is None or request.WhichOneof("frame") != "open":
        raise FirstFrameNotOpen
    return request.open


def _opened(session: Session, node_id: str) -> Event:
    opened = session_pb2.Opened(
        session_id=session.ref.session_id,
        node_id=node_id,
        head_seq=session.log.head_seq,
        oldest_seq=session.log.oldest_seq,
        agent=session.stored.agent,
        questions=session.questions.open_questions(),
    )
    return Event(epoch=session.claim.epoch, opened=opened)


def _rejected(refusal: AgentringError, frame: int) -> session_pb2.TurnRejected:
    detail = str(refusal) if isinstance(refusal, (Halted, QuotaExceeded)) else ""
    rejected = session_pb2.TurnRejected(reason=refusal.reason, frame=frame, detail=detail)
    if isinstance(refusal, QuotaExceeded):
        rejected.retry_delay.CopyFrom(to_duration(refusal.wait_s))
    return rejected


def _turn_id(request: ConverseRequest) -> str:
    match request.WhichOneof("frame"):
        case "turn":
            return request.turn.turn_id
        case "cancel":
            return request.cancel.turn_id
    return ""
