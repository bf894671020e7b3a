"""What the store has at the end of a run, read from its database with plain SQL: the checker trusts no code of the
nodes'."""

import sqlite3
from contextlib import closing
from typing import Any

import asyncpg

from agentring.v1 import session_pb2
from robustness.chaos.validate.evidence import Evidence, StoredEnd, StoredRow

SQLITE = "sqlite:///"


async def read_into(evidence: Evidence, store: str) -> None:
    """Adds turns, tool starts and counts to the evidence. store: as the nodes' --store, a durable one that had been
    empty; the nodes must have ended."""
    turns = await _rows(store, "SELECT tenant, session_id, number, epoch, state FROM turns")
    evidence.completed += [
        StoredRow(_subject(*ref), number, epoch)
        for *ref, number, epoch, state in turns
        if state == session_pb2.TURN_STATE_COMPLETED
    ]
    starts = await _rows(store, "SELECT tenant, session_id, commit_number, epoch FROM tool_starts")
    evidence.tool_starts += [StoredRow(_subject(*ref), number, epoch) for *ref, number, epoch in starts]
    counts = await _rows(store, "SELECT tenant, session_id, turns_completed FROM sessions")
    evidence.counted |= {_subject(*ref): count for *ref, count in counts}
    ended = await _rows(store, "SELECT tenant, task_key, attempt, epoch, outcome FROM tasks WHERE ended_ns IS NOT NULL")
    evidence.ended_tasks += [_end(*row) for row in ended]


async def open_tasks(store: str) -> set[str]:
    """The subjects of the tasks that were accepted and have not ended; also while the nodes are at work."""
    rows = await _rows(store, "SELECT tenant, task_key FROM tasks WHERE ended_ns IS NULL")
    return {f"task/{tenant}/{key}" for tenant, key in rows}


async def _rows(store: str, statement: str) -> list[Any]:
    if store.startswith(SQLITE):
        with closing(sqlite3.connect(f"file:{store.removeprefix(SQLITE)}?mode=ro", uri=True)) as database:
            return database.execute(statement).fetchall()
    connection = await asyncpg.connect(store)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


def _end(tenant: str, key: str, attempt: int, epoch: int, outcome: bytes) -> StoredEnd:
    end = session_pb2.Event.FromString(outcome)
    result = str(end.turn_completed.result["run"]) if end.HasField("turn_completed") else ""
    return StoredEnd(f"task/{tenant}/{key}", attempt, epoch, end.epoch, result)


def _subject(tenant: str, session_id: str) -> str:
    return f"session/{tenant}/{session_id}"
