"""Whose code an agent's code is: the run that called it, and all that it starts.

Guarantees: what an agent's task or callback raises that would end the process (SystemExit, KeyboardInterrupt) ends its
run instead, while that is under way; afterwards it is a line in the log. Each log line of a run, and of what it left
behind, names its session or task, its agent and its turn. Used by `run_agent`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from agent_node.agent_output import end_line
from agent_node.run.time_limit import PausableDeadline
from agentring.process.owned_loop import OWNER, code_locations

_log = structlog.get_logger()


class RunOwner:
    """An Owner (agentring/process/owned_loop.py)."""

    def __init__(self, log_fields: dict[str, str | int], time: PausableDeadline) -> None:
        """log_fields: as `named` (log_fields.py); time: the run's deadline, which expires at once where the run is to
        end."""
        self.log_fields = log_fields
        self._time = time
        self.error: BaseException | None = None
        """What would have ended the process; None: nothing has."""
        self.is_over = False

    def ended_by(self, error: BaseException) -> None:
        """As Owner."""
        where = code_locations(error.__traceback__)
        _log.error("agent_would_end_its_node", error=type(error).__name__, where=where, **self.log_fields)
        if self.error is None and not self.is_over:
            self.error = error
            self._time.expire()


@contextmanager
def owned(owner: RunOwner) -> Iterator[None]:
    """What is started in the body is the run's."""
    token = OWNER.set(owner)
    try:
        # Most of them are bound by the session's own task; to look costs less than to bind them again.
        bound = structlog.contextvars.get_contextvars()
        fields = {name: value for name, value in owner.log_fields.items() if bound.get(name) != value}
        tokens = structlog.contextvars.bind_contextvars(**fields)
        try:
            yield
        finally:
            end_line(owner)
            structlog.contextvars.reset_contextvars(**tokens)
    finally:
        owner.is_over = True
        OWNER.reset(token)
