"""A run, or a session or task, as fields of a log line. Used by all that logs what happened to one."""

from agentring.ids import SessionRef, TaskRef


def named(ref: SessionRef | TaskRef, agent: str = "", turn_id: str = "", attempt: int = 0) -> dict[str, str | int]:
    """A run, or a session or task, as fields of a log line."""
    fields: dict[str, str | int] = {"tenant": ref.tenant}
    fields |= {"session": ref.session_id} if isinstance(ref, SessionRef) else {"task": ref.task_key}
    fields |= {"agent": agent} if agent else {}
    fields |= {"turn": turn_id} if turn_id else {}
    return fields | ({"attempt": attempt} if attempt else {})
