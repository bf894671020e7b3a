"""How a run in a child process fails where that is not its agent's own error: it is logged. Used by run.py, runs.py."""

import structlog

from agent_node.child_process.fork_server import ForkServer
from agent_node.run.outcome import Failed, new_error_id
from agentring.errors import SessionMoving

_log = structlog.get_logger()


def check(forker: ForkServer) -> None:
    """Raises SessionMoving where the child has ended because the fork server has."""
    if forker.has_ended:
        raise SessionMoving


def failed(reason: str, event: str, log_fields: dict[str, str | int], **more: float) -> Failed:
    """The outcome, which is logged."""
    error_id = new_error_id()
    _log.error(event, reason=reason, error_id=error_id, **log_fields, **more)
    return Failed(reason, error_id)
