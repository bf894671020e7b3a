"""A run, or a session or task, as fields of a log line. Used by all that logs what happened to one."""

from agentring.ids import SessionRef, TaskRef


def named(ref: SessionRef | TaskRef, agent: str = "", turn_id: str = "", attempt: int = 0) -> dict[str, str | int]:
    """A run, or a session or task, as fields of a log line."""
    told: dict[str, str | int] = {"tenant": ref.tenant}
    told |= {"session": ref.session_id} if isinstance(ref, SessionRef) else {"task": ref.task_key}
    told |= {"agent": agent} if agent else {}
    told |= {"turn": turn_id} if turn_id else {}
    return told | ({"attempt": attempt} if attempt else {})
