"""A run, or a session or task, as fields of a log line. Used by all that logs what happened to one."""

from contextvars import ContextVar

from agentring.ids import SessionRef, TaskRef

TRACE: ContextVar[str] = ContextVar("agentring_trace", default="")
"""The trace that the call belongs to which is being dealt with; empty: none."""


def trace_of(traceparent: str) -> str:
    """The trace's id in such a header (W3C Trace Context); empty: there is none in it."""
    parts = traceparent.split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or not parts[1].strip("0") or parts[1].strip("0123456789abcdef"):
        return ""
    return parts[1]


def named(
    ref: SessionRef | TaskRef, agent: str = "", turn_id: str = "", attempt: int = 0, trace: str = ""
) -> dict[str, str | int]:
    """A run, or a session or task, as fields of a log line."""
    fields: dict[str, str | int] = {"tenant": ref.tenant}
    fields |= {"session": ref.session_id} if isinstance(ref, SessionRef) else {"task": ref.task_key}
    fields |= {"agent": agent} if agent else {}
    fields |= {"turn": turn_id} if turn_id else {}
    fields |= {"attempt": attempt} if attempt else {}
    return fields | ({"trace": trace} if trace else {})
