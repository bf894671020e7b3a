"""Counts the streams of tenants that have limits. Called by the methods that send events, before they accept a turn."""

from agent_node.lifecycle.incarnation import Incarnation
from agent_node.quota.holds import Asking
from agent_node.quota.quota import Held, Hold
from agentring.errors import QuotaExceeded
from agentring.ids import SessionRef, TaskRef


async def hold_stream(incarnation: Incarnation, ref: SessionRef | TaskRef, asking: Asking) -> Hold | None:
    """Counts one more until it is released; None: nobody has limits. Raises QuotaExceeded; where another node has the
    session or task, whose limits alone count then, NotOwner, SessionMoving, CoordinatorUnavailable."""
    if incarnation.quota is None:
        return None
    refusal = None
    try:
        return incarnation.quota.hold(Held.STREAMS, ref.tenant, asking.subject, was_accepted=asking.was_accepted)
    except QuotaExceeded as error:
        refusal = error
    await incarnation.raise_if_held_elsewhere(ref)
    raise refusal
