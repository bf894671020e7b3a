"""Releases a claim, of a session, a task or a step alike. Used by their owners."""

import structlog

from agent_node.audit import AuditLog
from agentring.cluster.claim import Claim, Claims
from agentring.cluster.lease import Lease
from agentring.errors import AgentringError

_log = structlog.get_logger()


async def release(claims: Claims, lease: Lease, audit: AuditLog, claim: Claim) -> None:
    """A claim that cannot be released now ends with the lease at the latest. Once that may be gone there is nothing to
    do: the incarnation gives it up as a whole."""
    if lease.reason is not None:
        return
    try:
        released = await claims.release(claim)
    except AgentringError as error:
        _log.warning("release_failed", reason=error.reason)
    else:
        if released:
            audit.write("released", claim.ref, epoch=claim.epoch)
