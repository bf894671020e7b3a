"""What the store has at the end of a run, read from its SQLite file with plain SQL: the checker trusts no code of the
nodes'."""

import sqlite3
from contextlib import closing
from pathlib import Path

from agentring.v1 import session_pb2
from robustness.chaos.validate.evidence import Evidence, StoredEnd, StoredRow


def read_into(evidence: Evidence, path: Path) -> None:
    """Adds turns, tool starts and counts to the evidence. The nodes must have ended."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        turns = database.execute(
            "SELECT tenant, session_id, number, epoch FROM turns WHERE state = ?", (session_pb2.TURN_STATE_COMPLETED,)
        )
        evidence.completed += [StoredRow(_subject(*ref), number, epoch) for *ref, number, epoch in turns]
        starts = database.execute("SELECT tenant, session_id, commit_number, epoch FROM tool_starts")
        evidence.tool_starts += [StoredRow(_subject(*ref), number, epoch) for *ref, number, epoch in starts]
        counts = database.execute("SELECT tenant, session_id, turns_completed FROM sessions")
        ended = database.execute(
            "SELECT tenant, task_key, attempt, epoch, outcome FROM tasks WHERE ended_ns IS NOT NULL"
        )
        evidence.ended_tasks += [_end(*row) for row in ended]
        evidence.counted |= {_subject(*ref): count for *ref, count in counts}


def open_tasks(path: Path) -> set[str]:
    """The subjects of the tasks that were accepted and have not ended; also while the nodes are at work."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT tenant, task_key FROM tasks WHERE ended_ns IS NULL")
        return {f"task/{tenant}/{key}" for tenant, key in rows}


def _end(tenant: str, key: str, attempt: int, epoch: int, outcome: bytes) -> StoredEnd:
    end = session_pb2.Event.FromString(outcome)
    result = str(end.turn_completed.result["run"]) if end.HasField("turn_completed") else ""
    return StoredEnd(f"task/{tenant}/{key}", attempt, epoch, end.epoch, result)


def _subject(tenant: str, session_id: str) -> str:
    return f"session/{tenant}/{session_id}"
