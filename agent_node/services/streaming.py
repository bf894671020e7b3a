"""What the streams of SessionService and TaskService have in common: where one begins or goes on, and its responses.

Guarantees: a stream is accepted only once it is known where it begins; every response begins with the two fields that
let a router resume the stream elsewhere. Called by the services' methods and by converse.py.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

from agent_node.events.attachment import Attachment
from agent_node.events.encoding import response
from agent_node.events.log import EventLog
from agent_node.lifecycle.incarnation import Incarnation
from agent_node.services.resume_point import ResumePoint
from agent_node.services.route import accept
from agent_node.session.session import Session
from agent_node.settings import NodeSettings
from agentring.ids import Epoch
from agentring.rpc.service import Call
from agentring.v1 import session_pb2


class AfterSeqRequest(Protocol):
    """A request that says where its stream begins."""

    after_seq: int
    keeps_valid: bool

    def HasField(self, field_name: Literal["after_seq"]) -> bool:
        """Whether it says so."""


class ResponseSink(Protocol):
    """A call, as far as it takes responses."""

    async def send_encoded(self, response: bytes) -> None:
        """As Call.send_encoded."""


async def attach_to_session(
    call: Call,
    incarnation: Incarnation,
    settings: NodeSettings,
    session: Session,
    point: ResumePoint,
    request: AfterSeqRequest,
) -> Attachment:
    """Accepts a stream of all events of a session. Raises ResumeOffsetExpired."""
    resumed_after = point.resumed_after(session.log, same_log=session.continues_log_of(point.epoch))
    missed = session.missing.after(resumed_after) if resumed_after is not None else ()
    epoch = session.claim.epoch
    after_seq = await accept_stream(call, incarnation, epoch, session.log, point, resumed_after, request)
    return session_attachment(
        settings, session, after_seq, missed, keeps_valid=point.keeps_valid or request.keeps_valid
    )


def session_attachment(
    settings: NodeSettings,
    session: Session,
    after_seq: int,
    missed: Sequence[session_pb2.Event],
    turn_id: str | None = None,
    *,
    keeps_valid: bool,
) -> Attachment:
    """A stream's place in a session's log. missed: what its client was not sent and the log does not have. turn_id:
    only this turn's events; keeps_valid: as Open."""
    return Attachment(
        session.log,
        after_seq,
        turn_id=turn_id,
        heartbeat_s=settings.heartbeat_s,
        merge_bytes=settings.merge_bytes,
        check=session.check_delivery,
        missing=missed,
        keeps_valid=keeps_valid,
    )


async def accept_stream(
    call: Call,
    incarnation: Incarnation,
    epoch: Epoch,
    log: EventLog,
    point: ResumePoint,
    resumed_after: int | None,
    request: AfterSeqRequest,
) -> int:
    """Accepts a stream and returns the seq that it begins after. resumed_after: what its client has been sent; None:
    nothing, so it begins where the request says. Raises ResumeOffsetExpired."""
    after_seq = resumed_after
    if after_seq is None:
        after_seq = log.start_after(request.after_seq if request.HasField("after_seq") else None)
    begins_after = None if point.is_taken_over else after_seq
    await accept(call, incarnation, epoch, begins_after=begins_after, keeps_valid=request.keeps_valid)
    return after_seq


async def stream(call: ResponseSink, attachment: Attachment, first: bytes = b"") -> None:
    """Sends what the attachment has for its client until it ends, in responses that begin with the fields of all
    streams. first: the encoded fields that the first one has beside these. Raises what the attachment ends with."""
    while (events := await attachment.next()) is not None:
        encoded = [each.raw for each in events]
        await call.send_encoded(response(attachment.through_seq, attachment.acked_frame, encoded, first))
        first = b""
