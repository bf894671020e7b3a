"""How a run ended, as far as it came to an end of its own: completed or failed. A cancelled run has no outcome."""

import uuid
from dataclasses import dataclass

import structlog
from google.protobuf import struct_pb2

from agentring.agent import Usage
from agentring.v1 import session_pb2

TURN_DEADLINE = "TURN_DEADLINE"
"""The reason of a run that took longer than it may."""

_log = structlog.get_logger()


@dataclass
class Completed:
    """The agent came to its end."""

    text: str
    text_bytes: int
    state_json: str
    result: struct_pb2.Struct | None
    usage: Usage | None = None

    def to_event(self) -> session_pb2.TurnCompleted:
        """The ending event's body."""
        event = session_pb2.TurnCompleted(result=self.result, text_bytes=self.text_bytes)
        if (used := self.usage) is not None:
            event.usage.input_tokens = used.input_tokens
            event.usage.output_tokens = used.output_tokens
            event.usage.cached_tokens = used.cached_tokens
            event.usage.model_calls = used.model_calls
        return event


@dataclass(frozen=True, slots=True)
class Failed:
    """The agent raised or went beyond a bound."""

    reason: str
    error_id: str
    detail: str = ""
    """What was wrong, and where, as far as that is not the agent's own words."""

    def to_event(self) -> session_pb2.TurnFailed:
        """The ending event's body."""
        return session_pb2.TurnFailed(reason=self.reason, error_id=self.error_id, detail=self.detail)


Outcome = Completed | Failed


def new_error_id() -> str:
    """Identifies an error to the client and in the log."""
    return uuid.uuid4().hex[:16]


def failed_before(reason: str) -> Failed | None:
    """The outcome of a run whose end was decided by an earlier attempt for this reason; None: it is cancelled."""
    if reason != TURN_DEADLINE:
        return None
    error_id = new_error_id()
    _log.warning("deadline_was_over_before", reason=reason, error_id=error_id)
    return Failed(reason, error_id)


def attempts_exhausted(attempt: int) -> Failed:
    """The outcome of a turn that was cut off in every run that it was allowed."""
    error_id = new_error_id()
    _log.error("attempts_exhausted", attempts=attempt - 1, error_id=error_id)
    return Failed("ATTEMPTS_EXHAUSTED", error_id)


def cancelled_by_nobody() -> Failed:
    """The outcome of a run whose own task was cancelled, but by none of those who may: an agent can reach all tasks of
    the process."""
    error_id = new_error_id()
    _log.error("run_cancelled_by_nobody", error_id=error_id)
    return Failed("AGENT_CANCELLED_ITSELF", error_id)
