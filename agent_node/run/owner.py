"""Whose code an agent's code is: the run that called it, and all that it starts.

Guarantees: what an agent's task or callback raises that would end the process (SystemExit, KeyboardInterrupt) ends its
run instead, while that is under way; afterwards it is a line in the log. Each log line of a run, and of what it left
behind, names its session or task, its agent and its turn. Used by AgentRun (agent_run.py).
"""

from collections.abc import Mapping

import structlog

from agent_node.agent_output import end_line
from agent_node.log_fields import named
from agent_node.run.run_input import TurnInput
from agent_node.run.time_limit import PausableDeadline
from agentring.log import SUBJECT
from agentring.process.owned_loop import OWNER, code_locations

_log = structlog.get_logger()


class RunOwner:
    """An Owner (agentring/process/owned_loop.py)."""

    def __init__(self, turn: TurnInput, time: PausableDeadline) -> None:
        """turn: which run it is; time: the run's deadline, which expires at once where the run is to end."""
        self._names = turn.ref, turn.agent, turn.turn_id, turn.attempt, turn.trace
        self._time = time
        self.error: BaseException | None = None
        """What would have ended the process; None: nothing has."""
        self.is_over = False

    @property
    def log_fields(self) -> Mapping[str, str | int]:
        """As Owner."""
        return named(*self._names)

    def own(self) -> None:
        """What is started in this context, from here on, is the run's."""
        OWNER.set(self)
        SUBJECT.set(self)

    def end(self) -> None:
        """The run is over. In the context of `own`."""
        self.is_over = True
        end_line(self)

    def ended_by(self, error: BaseException) -> None:
        """As Owner."""
        where = code_locations(error.__traceback__)
        _log.error("agent_would_end_its_node", error=type(error).__name__, where=where, **self.log_fields)
        if self.error is None and not self.is_over:
            self.error = error
            self._time.expire()
