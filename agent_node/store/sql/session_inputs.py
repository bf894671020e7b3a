"""The SQL store's questions: what agents asked in a session's turns, and what was answered.

A question is kept before anybody sees it, its answer before it is acknowledged. Both stay when the turn has
ended, so that an answer which is sent again is recognised, and go with the session. Written by transactions that lock
the session's row. Used by session_transactions.py and sessions.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, LargeBinary, String, Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from agent_node.store.session_records import StoredInput
from agent_node.store.sql.hot_statement import HotStatement, Row
from agent_node.store.sql.session_schema import metadata, of_session, session_columns, session_keys, turns
from agentring.ids import SessionId, SessionRef, TenantId

table = Table(
    "inputs",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("session_id", String(128), primary_key=True),
    Column("input_id", String(160), primary_key=True),
    Column("turn_id", String(128), nullable=False),
    Column("waits", BigInteger, nullable=False),
    Column("answer", LargeBinary),
    Column("question", LargeBinary),
)

_OF_SESSION = of_session(table)
_READ = select(table).where(_OF_SESSION, table.c.input_id == bindparam("k_input_id"))
_READ_OPEN = HotStatement(
    select(table).where(
        _OF_SESSION,
        table.c.turn_id.in_(select(turns.c.turn_id).where(of_session(turns), turns.c.end_seq.is_(None))),
    )
)
_UNANSWERED = (
    select(table)
    .join(
        turns,
        (turns.c.tenant == table.c.tenant)
        & (turns.c.session_id == table.c.session_id)
        & (turns.c.turn_id == table.c.turn_id),
    )
    .where(
        table.c.tenant == bindparam("k_tenant"),
        table.c.session_id.in_(bindparam("k_session_ids", expanding=True)),
        table.c.answer.is_(None),
        turns.c.end_seq.is_(None),
    )
    .order_by(table.c.session_id, table.c.input_id)
)


def _keeping(insert: Callable[..., Any]) -> Any:
    upsert = insert(table)
    return upsert.on_conflict_do_update(
        index_elements=[table.c.tenant, table.c.session_id, table.c.input_id],
        set_={name: upsert.excluded[name] for name in ("waits", "answer", "question")},
    )


_KEEP = {"sqlite": _keeping(sqlite.insert), "postgresql": _keeping(postgresql.insert)}


def keep(connection: Connection, ref: SessionRef, asked: StoredInput) -> None:
    """Adds a question, or brings it up to date. The transaction has locked the session's row."""
    values = {
        **session_columns(ref),
        "input_id": asked.input_id,
        "turn_id": asked.turn_id,
        "waits": asked.waits,
        "answer": asked.answer,
        "question": asked.question,
    }
    connection.execute(_KEEP[connection.dialect.name], values)


def read(connection: Connection, ref: SessionRef, input_id: str) -> StoredInput | None:
    """One question; None: there is none."""
    row = connection.execute(_READ, session_keys(ref) | {"k_input_id": input_id}).mappings().first()
    return _input(row) if row is not None else None


def read_open(connection: Connection, ref: SessionRef) -> dict[str, StoredInput]:
    """The questions of turns that have not ended, by input_id."""
    rows = _READ_OPEN.all(connection, session_keys(ref))
    return {row["input_id"]: _input(row) for row in rows}


def read_unanswered(
    connection: Connection, tenant: TenantId, session_ids: Sequence[SessionId]
) -> dict[SessionId, tuple[StoredInput, ...]]:
    """The open questions of some sessions, by session."""
    found: dict[SessionId, tuple[StoredInput, ...]] = {}
    for row in connection.execute(_UNANSWERED, {"k_tenant": tenant, "k_session_ids": session_ids}).mappings():
        session_id = SessionId(row["session_id"])
        found[session_id] = (*found.get(session_id, ()), _input(row))
    return found


def _input(row: Row) -> StoredInput:
    return StoredInput(row["input_id"], row["turn_id"], row["waits"], row["answer"], row["question"] or b"")
