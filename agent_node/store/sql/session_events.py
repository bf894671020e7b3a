"""The SQL store's event log: the events of sessions' turns, in rows of consecutive events, until retention drops them.

A row holds the events of one turn, merged, or a part of them where they are many; its `seq` is the last one.
`begin_bytes` counts on through the session's life, so that neither a write nor an activation has to add up sizes. Rows
are written by the transactions that give the session a new head_seq, and dropped by one of their own, all of which lock
the session's row; reading needs no lock, since a row never changes. Used by session_transactions.py and sessions.py.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    String,
    Table,
    bindparam,
    insert,
    select,
)
from sqlalchemy import delete as delete_from

from agent_node.store.session_records import EventExtent, EventRow
from agent_node.store.sql.hot_statement import HotStatement, Row
from agent_node.store.sql.session_schema import metadata, of_session, session_columns, session_keys
from agentring.ids import SessionRef

_MOST_ROWS = 64
"""That one read looks at."""

table = Table(
    "events",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("session_id", String(128), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("begin_bytes", BigInteger, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("events", LargeBinary, nullable=False),
)

_OF_SESSION = of_session(table)
_KEEP = HotStatement(insert(table), [column.name for column in table.columns])
_OLDEST = select(table).where(_OF_SESSION).order_by(table.c.seq).limit(1)
_NEWEST = select(table).where(_OF_SESSION).order_by(table.c.seq.desc()).limit(1)
EXTENT = (
    # Three look-ups by the primary key: nothing is added up.
    _OLDEST.with_only_columns(table.c.first_seq).scalar_subquery().label("oldest_seq"),
    _OLDEST.with_only_columns(table.c.begin_bytes).scalar_subquery().label("begin_bytes"),
    _NEWEST.with_only_columns(table.c.begin_bytes + table.c.size_bytes).scalar_subquery().label("end_bytes"),
)
"""Columns of any select that has the parameters of the session."""
_READ_EXTENT = HotStatement(select(*EXTENT))
_SIZES = (
    select(table.c.seq, table.c.size_bytes)
    .where(_OF_SESSION, table.c.seq > bindparam("k_after_seq"))
    .order_by(table.c.seq)
    .limit(_MOST_ROWS)
)
_READ = (
    select(table.c.first_seq, table.c.seq, table.c.begin_bytes, table.c.events)
    .where(_OF_SESSION, table.c.seq > bindparam("k_after_seq"), table.c.seq <= bindparam("k_through_seq"))
    .order_by(table.c.seq)
)
_TRIM = delete_from(table).where(_OF_SESSION, table.c.begin_bytes < bindparam("k_before_bytes"))


def keep(connection: Connection, ref: SessionRef, rows: Sequence[EventRow]) -> None:
    """Adds events. The transaction has locked the session's row."""
    if rows:
        _KEEP.change_each(connection, [columns(ref, row) for row in rows])


def columns(ref: SessionRef, row: EventRow) -> dict[str, Any]:
    """The table's columns."""
    return {
        **session_columns(ref),
        "seq": row.seq,
        "first_seq": row.first_seq,
        "begin_bytes": row.begin_bytes,
        "size_bytes": len(row.events),
        "events": row.events,
    }


def extent(connection: Connection, ref: SessionRef) -> EventExtent:
    """Which events are kept."""
    return extent_of(_READ_EXTENT.all(connection, session_keys(ref))[0])


def extent_of(row: Row) -> EventExtent:
    """As `extent`, of a row that has the columns EXTENT."""
    if row["oldest_seq"] is None:
        return EventExtent()
    return EventExtent(row["oldest_seq"], row["begin_bytes"], row["end_bytes"])


def read(connection: Connection, ref: SessionRef, after_seq: int, max_bytes: int) -> list[EventRow]:
    """As Store.read_events. The sizes first, so that no more than is wanted is taken from the database."""
    keys = session_keys(ref) | {"k_after_seq": after_seq}
    through_seq, left_bytes = 0, max_bytes
    for seq, size_bytes in connection.execute(_SIZES, keys).all():
        if left_bytes <= 0:
            break
        through_seq, left_bytes = seq, left_bytes - size_bytes
    if not through_seq:
        return []
    return [EventRow(*row) for row in connection.execute(_READ, keys | {"k_through_seq": through_seq})]


def trim(connection: Connection, ref: SessionRef, before_bytes: int) -> None:
    """Drops the rows that begin before so many bytes. The transaction has locked the session's row."""
    connection.execute(_TRIM, session_keys(ref) | {"k_before_bytes": before_bytes})
