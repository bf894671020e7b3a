"""Which session or task a call is about: its metadata and its message must agree."""

from agent_node.incarnation import Incarnation
from agentring import metadata
from agentring.errors import RouteMismatch, RouteMissing
from agentring.ids import Epoch, SessionRef, TaskRef, parse_session, parse_task
from agentring.rpc.service import Call


def session_of(call: Call, session_id: str, agent: str) -> tuple[SessionRef, str]:
    """The session, and the agent or an empty string. Raises RouteMissing, RouteMismatch, InvalidSessionId and
    InvalidTenantId."""
    name = _agreed(call, metadata.SESSION_ID, session_id)
    return parse_session(_tenant(call), name), _agreed(call, metadata.AGENT, agent, may_be_empty=True)


def task_of(call: Call, task_key: str, agent: str) -> tuple[TaskRef, str]:
    """The task, and the agent or an empty string. Raises RouteMissing, RouteMismatch, InvalidTaskKey and
    InvalidTenantId."""
    name = _agreed(call, metadata.TASK_KEY, task_key)
    return parse_task(_tenant(call), name), _agreed(call, metadata.AGENT, agent, may_be_empty=True)


async def accept(call: Call, incarnation: Incarnation, epoch: Epoch) -> None:
    """Tells the router that this node owns it and has taken the call."""
    node_id = incarnation.registration.identity.node_id
    await call.accept((metadata.NODE, node_id), (metadata.EPOCH, str(epoch)))


def _tenant(call: Call) -> str:
    return call.metadata.get(metadata.TENANT_ID, "")


def _agreed(call: Call, header: str, field: str, *, may_be_empty: bool = False) -> str:
    told = call.metadata.get(header, "")
    if told and field and told != field:
        raise RouteMismatch
    if not (told or field or may_be_empty):
        raise RouteMissing
    return field or told
