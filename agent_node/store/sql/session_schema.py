"""The tables of the SQL store, the same on SQLite and PostgreSQL.

`sessions` is small and is locked and compared by every write, so a session's state, which may be large and changes with
completed turns alone, stands beside it. `turns` has an index of those that have not ended: an activation and the sweep
for sessions that nobody comes back to look for nothing else.

Who changes a table here, or in a neighbour, adds the version that changes it to `migrations/versions`.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    text,
)

from agent_node.store.sql.text_column import NulSafeText
from agentring.ids import SessionRef

metadata = MetaData()

cluster = Table(
    "cluster",
    metadata,
    Column("one", SmallInteger, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False),
    Column("cluster_uuid", String(64), nullable=False),
    Column("machine_id", String(64), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("store_uuid", String(64), nullable=False, server_default=""),
)

sessions = Table(
    "sessions",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("session_id", String(128), primary_key=True),
    Column("agent", String(256), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", String(128), nullable=False),
    Column("was_released", SmallInteger, nullable=False),
    Column("commit_id", String(40), nullable=False),
    Column("commit_number", BigInteger, nullable=False),
    Column("reserved_seq", BigInteger, nullable=False),
    Column("head_seq", BigInteger, nullable=False),
    Column("turns_completed", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger),
)
Index(
    "sessions_closed",
    sessions.c.closed_ns,
    sqlite_where=sessions.c.closed_ns.is_not(None),
    postgresql_where=sessions.c.closed_ns.is_not(None),
)

states = Table(
    "states",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("session_id", String(128), primary_key=True),
    Column("state_json", Text, nullable=False),
    Column("checksum", String(16), nullable=False, server_default=""),
)

turns = Table(
    "turns",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("session_id", String(128), primary_key=True),
    Column("turn_id", String(128), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("accepted_seq", BigInteger, nullable=False),
    Column("end_seq", BigInteger),
    Column("outcome", LargeBinary, nullable=False),
    Column("output_text", NulSafeText),
    Column("deaths", SmallInteger, nullable=False, server_default="0"),
    Column("life_id", String(32), nullable=False, server_default=""),
    UniqueConstraint("tenant", "session_id", "number"),
)
Index(
    "turns_open",
    turns.c.tenant,
    turns.c.session_id,
    turns.c.number,
    sqlite_where=text("end_seq IS NULL"),
    postgresql_where=text("end_seq IS NULL"),
)

tool_starts = Table(
    "tool_starts",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("session_id", String(128), primary_key=True),
    Column("commit_number", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("turn_id", String(128), nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("call_id", String(192), nullable=False),
    Column("name", NulSafeText, nullable=False),
)


def of_session(table: Any) -> Any:
    """Picks the rows of one session."""
    return (table.c.tenant == bindparam("k_tenant")) & (table.c.session_id == bindparam("k_session_id"))


def session_keys(ref: SessionRef) -> dict[str, Any]:
    """The parameters of `of_session`."""
    return {"k_tenant": ref.tenant, "k_session_id": ref.session_id}


def session_columns(ref: SessionRef) -> dict[str, Any]:
    """The columns that every row of a session begins with."""
    return {"tenant": ref.tenant, "session_id": ref.session_id}
