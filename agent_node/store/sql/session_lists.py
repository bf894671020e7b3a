"""The SQL store's lists: the sessions of a tenant, and those of all tenants whose turns have not ended.

Both go by keys, not by offsets: a page begins after the last row of the page before, however much has come and gone
meanwhile. What has not ended is found by the index of open turns alone, so a sweep costs what is open, not what is
kept. Pages of a tenant's sessions go by the primary key; filters are compared on the way. Nothing is locked: a list is
what some moment knew. Used by sessions.py.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, tuple_

from agent_node.store.session_records import ListedSession, OpenSession, SessionFilter
from agent_node.store.sql import session_events, session_inputs
from agent_node.store.sql.session_schema import sessions, turns
from agentring.ids import Epoch, SessionId, SessionRef, TenantId
from agentring.v1.session_pb2 import TURN_STATE_RUNNING

_BEYOND = "\x7f"
"""Sorts after whatever may stand in an id."""


def _of_row(table: Any) -> ColumnElement[bool]:
    return and_(table.c.tenant == sessions.c.tenant, table.c.session_id == sessions.c.session_id)


_OPEN = select(turns).where(_of_row(turns), turns.c.end_seq.is_(None))
_LISTED = select(
    sessions,
    # A look-up by an index for each session of the page.
    select(session_events.table.c.first_seq)
    .where(_of_row(session_events.table))
    .order_by(session_events.table.c.seq)
    .limit(1)
    .scalar_subquery()
    .label("oldest_seq"),
    _OPEN.with_only_columns(func.max(turns.c.turn_id))
    .where(turns.c.state == TURN_STATE_RUNNING)
    .scalar_subquery()
    .label("running_turn_id"),
    _OPEN.with_only_columns(func.count())
    .where(turns.c.state != TURN_STATE_RUNNING)
    .scalar_subquery()
    .label("waiting_turns"),
)


def open_page(after: SessionRef | None, at_most: int) -> Select[Any]:
    """The keys of sessions that have open turns, and none that waits for an answer: who gives it takes them up."""
    tenant, session_id = turns.c.tenant, turns.c.session_id
    found = select(tenant, session_id).where(turns.c.end_seq.is_(None), ~_waits_for_an_answer(tenant, session_id))
    if after is not None:
        found = found.where(tuple_(tenant, session_id) > tuple_(after.tenant, after.session_id))
    return found.distinct().order_by(tenant, session_id).limit(at_most)


def _waits_for_an_answer(tenant: ColumnElement[str], session_id: ColumnElement[str]) -> ColumnElement[bool]:
    asking = turns.alias()
    asked = session_inputs.table.c
    return (
        select(asked.input_id)
        .where(
            asked.tenant == tenant,
            asked.session_id == session_id,
            asked.answer.is_(None),
            asking.c.tenant == asked.tenant,
            asking.c.session_id == asked.session_id,
            asking.c.turn_id == asked.turn_id,
            asking.c.end_seq.is_(None),
        )
        .exists()
    )


def open_sessions(connection: Connection, after: SessionRef | None, at_most: int) -> list[OpenSession]:
    """As Store.list_open."""
    page = open_page(after, at_most).subquery()
    rows = connection.execute(
        select(sessions.c.tenant, sessions.c.session_id, sessions.c.agent, sessions.c.commit_number)
        .join(page, _of_row(page))
        .order_by(sessions.c.tenant, sessions.c.session_id)
    )
    return [OpenSession(SessionRef(TenantId(row[0]), SessionId(row[1])), row[2], row[3]) for row in rows]


def sessions_of(
    connection: Connection, tenant: TenantId, which: SessionFilter, after: str, at_most: int
) -> list[ListedSession]:
    """As Store.list_sessions."""
    key = sessions.c.session_id
    query: Select[Any] = _LISTED.where(sessions.c.tenant == tenant, key > after)
    if which.prefix:
        query = query.where(_begins(connection.dialect.name, key, which.prefix))
    if which.agent:
        query = query.where(sessions.c.agent == which.agent)
    rows = connection.execute(query.order_by(key).limit(at_most)).mappings().all()
    busy = [SessionId(row["session_id"]) for row in rows if row["running_turn_id"] or row["waiting_turns"]]
    asked = session_inputs.read_unanswered(connection, tenant, busy) if busy else {}
    return [
        ListedSession(
            session_id=SessionId(row["session_id"]),
            agent=row["agent"],
            closed=row["closed_ns"] is not None,
            owner=row["owner"],
            epoch=Epoch(row["epoch"]),
            head_seq=row["head_seq"],
            oldest_seq=row["oldest_seq"] or row["head_seq"] + 1,
            turns_completed=row["turns_completed"],
            created_ns=row["created_ns"],
            running_turn_id=row["running_turn_id"] or "",
            waiting_turns=row["waiting_turns"],
            questions=asked.get(SessionId(row["session_id"]), ()),
        )
        for row in rows
    ]


def _begins(dialect: str, key: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    if dialect == "sqlite":  # sorts by bytes, so what begins so stands together
        return and_(key >= prefix, key < prefix + _BEYOND)
    return func.starts_with(key, prefix)
