"""SessionService on a node.

Every method finds the session (which is the ownership check), accepts the call, and sends what the session answers. The
Converse stream, which is more than that, is in converse.py.
"""

import uuid
from collections.abc import AsyncIterator

from agent_node.lifecycle.incarnation import Incarnation
from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.quota.holds import ANYBODY, RESUMING, Asking
from agent_node.services.converse import converse
from agent_node.services.resume_point import ResumePoint, resume_point_of
from agent_node.services.route import accept, asking, held_by, session_of, tenant_of, terms_of
from agent_node.services.session_list import list_page
from agent_node.services.stream_holds import hold_stream
from agent_node.services.streaming import attach_to_session, session_attachment, stream
from agent_node.session.session import Session
from agent_node.settings import NodeSettings
from agent_node.store import StoredSession, StoredTurn
from agentring import metadata
from agentring.errors import AgentMismatch, MalformedRequest, SessionCorrupt
from agentring.ids import Epoch, parse_turn_id
from agentring.rpc.service import Call
from agentring.v1 import session_pb2

_WAITS = (session_pb2.ON_BUSY_UNSPECIFIED, session_pb2.ON_BUSY_ENQUEUE)
"""Of a call that waits for the turns before its own."""


class SessionService:
    """The service's methods; see protos/agentring/v1/session.proto."""

    def __init__(self, incarnations: IncarnationSupervisor, settings: NodeSettings) -> None:
        """incarnations: whose sessions are served."""
        self._incarnations = incarnations
        self._settings = settings

    async def Converse(self, requests: AsyncIterator[session_pb2.ConverseRequest], call: Call) -> None:
        """See converse.py."""
        await converse(self._incarnations, self._settings, requests, call)

    async def RunTurn(self, request: session_pb2.RunTurnRequest, call: Call) -> None:
        """Streams one turn."""
        point = resume_point_of(call)
        hold, wanted = None, ANYBODY
        if (incarnation := self._incarnations.current).quota is not None:
            ref, _ = session_of(call, request.session_id, request.agent)
            wanted = asking(call, goes_on=point.is_taken_over)
            hold = await hold_stream(incarnation, ref, wanted)
        try:
            session, turn, _ = await self._submit(request, call, point, wanted)
            end = session.turns.follow(turn)
            await accept(call, self._incarnations.current, session.claim.epoch)
            after_seq = point.after_seq if point.after_seq is not None else turn.accepted_seq - 1
            missed = session.missing.after(after_seq, turn)
            waiting = self._incarnations.current.wait_cycles.waiting(
                session.ref, held_by(call), lambda: end.seq is not None
            )
            with (
                waiting,
                session_attachment(
                    self._settings, session, after_seq, missed, turn.turn_id, keeps_valid=request.keeps_valid
                ) as attachment,
            ):
                attachment.ack(1)
                attachment.end_after(lambda: end.seq)
                await stream(call, attachment)
        finally:
            if hold is not None:
                hold.release()

    async def SubmitTurn(self, request: session_pb2.SubmitTurnRequest, call: Call) -> session_pb2.SubmitTurnResponse:
        """Accepts one turn."""
        wanted = ANYBODY if self._incarnations.current.quota is None else asking(call)
        session, turn, fresh = await self._submit(request, call, ResumePoint(), wanted)
        await accept(call, self._incarnations.current, session.claim.epoch)
        state = session_pb2.TURN_STATE_ACCEPTED if fresh else session.turn(turn.turn_id).state
        return session_pb2.SubmitTurnResponse(turn_id=turn.turn_id, accepted_seq=turn.accepted_seq, state=state)

    async def CancelTurn(self, request: session_pb2.CancelTurnRequest, call: Call) -> session_pb2.CancelTurnResponse:
        """Cancels one turn."""
        session = await self._find(request, call)
        turn_id = parse_turn_id(request.turn_id)
        return session_pb2.CancelTurnResponse(state=(await session.cancel(turn_id)).state)

    async def WatchSession(self, request: session_pb2.WatchSessionRequest, call: Call) -> None:
        """Streams the session's events until it ends."""
        point = resume_point_of(call)
        hold, wanted = None, ANYBODY
        if (incarnation := self._incarnations.current).quota is not None:
            ref, _ = session_of(call, request.session_id, request.agent)
            wanted = asking(call, goes_on=point.is_taken_over)
            hold = await hold_stream(incarnation, ref, wanted)
        try:
            session, incarnation = await self._found(request, call, wanted)
            with await attach_to_session(call, incarnation, self._settings, session, point, request) as attachment:
                attachment.ack(1)
                await stream(call, attachment)
        finally:
            if hold is not None:
                hold.release()

    async def GetSession(self, request: session_pb2.GetSessionRequest, call: Call) -> session_pb2.GetSessionResponse:
        """Describes the session, which need not have an owner."""
        ref, agent = session_of(call, request.session_id, request.agent)
        incarnation = self._incarnations.current
        found = await incarnation.host.look_up(ref)
        stored = found.stored if isinstance(found, Session) else found
        _check_agent(stored, agent)
        await accept(call, incarnation, stored.epoch)
        described = session_pb2.Session(
            session_id=ref.session_id,
            agent=stored.agent,
            closed=stored.closed,
            epoch=stored.epoch,
            head_seq=stored.head_seq,
            oldest_seq=stored.oldest_seq,
            turns_completed=stored.turns_completed,
        )
        described.create_time.FromNanoseconds(stored.created_ns)
        if not isinstance(found, Session):
            described.questions.extend(asked.to_question() for asked in found.inputs.values() if asked.answer is None)
        else:
            described.closed = found.closed
            described.node_id = incarnation.registration.identity.node_id
            described.head_seq, described.oldest_seq = found.log.head_seq, found.log.oldest_seq
            described.running_turn_id = found.running_turn_id or ""
            described.waiting_turns = len(found.mailbox)
            described.questions.extend(found.questions.open_questions())
            if (running := found.running) is not None and running.open_steps is not None:
                described.open_steps.extend(running.open_steps.shown())
        return session_pb2.GetSessionResponse(session=described)

    async def ListSessions(
        self, request: session_pb2.ListSessionsRequest, call: Call
    ) -> session_pb2.ListSessionsResponse:
        """See session_list.py."""
        incarnation = self._incarnations.current
        page = await list_page(incarnation.store, incarnation.page_key, tenant_of(call), request)
        await accept(call, incarnation, Epoch(0))
        return page

    async def CloseSession(
        self, request: session_pb2.CloseSessionRequest, call: Call
    ) -> session_pb2.CloseSessionResponse:
        """Closes the session, also where what is stored of it cannot be read; one that is closed already stays so."""
        ref, agent = session_of(call, request.session_id, request.agent)
        incarnation = self._incarnations.current
        can_be_read = True
        try:
            found = await incarnation.host.look_up(ref)
            if isinstance(found, Session) or not found.closed:
                await incarnation.host.close(await self._find(request, call))
            else:
                _check_agent(found, agent)
                await accept(call, incarnation, found.epoch)
        except SessionCorrupt:
            can_be_read = False
        if not can_be_read:
            await accept(call, incarnation, await incarnation.host.close_unread(ref))
        return session_pb2.CloseSessionResponse()

    async def _submit(
        self,
        request: session_pb2.RunTurnRequest | session_pb2.SubmitTurnRequest,
        call: Call,
        point: ResumePoint,
        wanted: Asking,
    ) -> tuple[Session, StoredTurn, bool]:
        ref, agent = session_of(call, request.session_id, request.agent)
        if not request.HasField("turn"):
            raise MalformedRequest
        if isinstance(request, session_pb2.RunTurnRequest) and request.turn.on_busy in _WAITS:
            self._incarnations.current.wait_cycles.check(ref, held_by(call))
        # The stream's name is the same when the router sends the request again.
        stream_id = call.metadata.get(metadata.STREAM_ID) or uuid.uuid4().hex
        turn_id = parse_turn_id(request.turn.turn_id or f"{stream_id}.1")
        terms = terms_of(call, request.turn, self._settings)
        session = await self._incarnations.current.host.open(ref, agent, wanted)
        # Before a turn is run for a stream that could not go on.
        point.resumed_after(session.log, same_log=session.continues_log_of(point.epoch))
        turn, fresh = await session.submit(
            turn_id,
            request.turn.input,
            request.turn.on_busy,
            retry=point.last_retried > 0,
            terms=terms,
        )
        return session, turn, fresh

    async def _find(
        self,
        request: session_pb2.CancelTurnRequest | session_pb2.CloseSessionRequest,
        call: Call,
    ) -> Session:
        session, incarnation = await self._found(request, call, RESUMING)  # it begins nothing
        await accept(call, incarnation, session.claim.epoch)
        return session

    async def _found(
        self,
        request: session_pb2.CancelTurnRequest | session_pb2.WatchSessionRequest | session_pb2.CloseSessionRequest,
        call: Call,
        wanted: Asking,
    ) -> tuple[Session, Incarnation]:
        ref, agent = session_of(call, request.session_id, request.agent)
        incarnation = self._incarnations.current
        session = await incarnation.host.find(ref, wanted)
        session.check_agent(agent)
        return session, incarnation


def _check_agent(stored: StoredSession, agent: str) -> None:
    if agent not in ("", stored.agent):
        raise AgentMismatch(stored.agent)
