"""Which session or task a call is about: its metadata and its message must agree. And of which trace it is a part."""

from agent_node.lifecycle.incarnation import Incarnation
from agent_node.log_fields import TRACE, trace_of
from agent_node.quota.holds import Asking
from agent_node.run.call_terms import NO_TERMS, CallTerms
from agent_node.settings import NodeSettings
from agentring import metadata
from agentring.durations import to_seconds
from agentring.errors import InvalidTimeout, RouteMismatch, RouteMissing
from agentring.held import Ref, from_header
from agentring.ids import (
    DEFAULT_TENANT,
    Epoch,
    OnceRef,
    SessionRef,
    TaskRef,
    TenantId,
    parse_once,
    parse_session,
    parse_task,
    parse_tenant,
)
from agentring.rpc.service import Call
from agentring.v1 import session_pb2, task_pb2


def session_of(call: Call, session_id: str, agent: str) -> tuple[SessionRef, str]:
    """The session, and the agent or an empty string. Raises RouteMissing, RouteMismatch, InvalidSessionId and
    InvalidTenantId."""
    name = _named(call, metadata.SESSION_ID, session_id, "session/")
    TRACE.set(trace_of(call.metadata.get(metadata.TRACEPARENT, "")))
    return parse_session(_tenant(call), name), _agreed(call, metadata.AGENT, agent, may_be_empty=True)


def task_of(call: Call, task_key: str, agent: str) -> tuple[TaskRef, str]:
    """The task, and the agent or an empty string. Raises RouteMissing, RouteMismatch, InvalidTaskKey and
    InvalidTenantId."""
    name = _named(call, metadata.TASK_KEY, task_key, "task/")
    TRACE.set(trace_of(call.metadata.get(metadata.TRACEPARENT, "")))
    return parse_task(_tenant(call), name), _agreed(call, metadata.AGENT, agent, may_be_empty=True)


def once_of(call: Call, once_key: str) -> OnceRef:
    """The step that runs once. Raises RouteMissing, RouteMismatch, InvalidTaskKey and InvalidTenantId."""
    return parse_once(_tenant(call), _named(call, metadata.TASK_KEY, once_key, "once/"))


def tenant_of(call: Call) -> TenantId:
    """The caller's tenant. Raises InvalidTenantId."""
    return parse_tenant(_tenant(call))


def subject_of(call: Call) -> str:
    """Who of the tenant calls; empty: nobody was asked."""
    return call.caller.identity.subject if call.caller is not None else ""


def asking(call: Call, *, goes_on: bool = False) -> Asking:
    """On whose behalf something is asked for. goes_on: a stream that another node has accepted is taken over."""
    return Asking(subject_of(call), goes_on)


def held_by(call: Call) -> frozenset[Ref]:
    """What the caller holds up while it waits. Raises InvalidTenantId."""
    return from_header(_tenant(call), call.metadata.get(metadata.HELD_KEYS, ""))


def terms_of(call: Call, request: session_pb2.Turn | task_pb2.RunTaskRequest, settings: NodeSettings) -> CallTerms:
    """On what terms a call hands in a turn or a task. Raises InvalidTimeout."""
    names, timeout_s = settings.caller_metadata, 0.0
    if request.HasField("timeout"):
        timeout_s = to_seconds(request.timeout)
        if not 0 < timeout_s <= settings.max_turn_timeout_s:
            raise InvalidTimeout(int(settings.max_turn_timeout_s))
    elif not names and call.caller is None:
        return NO_TERMS
    shown = tuple((name, call.metadata[name]) for name in names if name in call.metadata)
    if call.caller is None:
        return CallTerms(shown, timeout_s)
    return CallTerms(shown, timeout_s, call.caller.identity.subject, call.caller.identity.credential_id)


async def accept(
    call: Call, incarnation: Incarnation, epoch: Epoch, *, begins_after: int | None = None, keeps_valid: bool = False
) -> None:
    """Takes the call, and names this node to the router as the owner. begins_after: the seq that the stream begins
    after, where another node that takes it over could not know; None: it could. keeps_valid: as Open, likewise."""
    node_id = incarnation.registration.identity.node_id
    begins = () if begins_after is None else ((metadata.BEGINS_AFTER, str(begins_after)),)
    keeps = ((metadata.KEEPS_VALID, "1"),) if keeps_valid else ()
    await call.accept((metadata.NODE, node_id), (metadata.EPOCH, str(epoch)), *begins, *keeps)


def _tenant(call: Call) -> str:
    return call.caller.tenant if call.caller is not None else call.metadata.get(metadata.TENANT_ID, "")


def _named(call: Call, header: str, field: str, kind: str) -> str:
    name = _agreed(call, header, field)
    if header not in call.metadata:
        call.named(_tenant(call) or DEFAULT_TENANT, kind + name)
    return name


def _agreed(call: Call, header: str, field: str, *, may_be_empty: bool = False) -> str:
    sent = call.metadata.get(header, "")
    if sent and field and sent != field:
        raise RouteMismatch
    if not (sent or field or may_be_empty):
        raise RouteMissing
    return field or sent
