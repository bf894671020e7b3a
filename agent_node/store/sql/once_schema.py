"""The table of the steps that run once, on the metadata of session_schema.py: one row a key, its latest run. Keys are
compared byte by byte, as in task_schema.py.

Two indexes of what is looked for by itself: the runs that have not ended (the sweep for those whose turn has), and when
the others are to be forgotten.
"""

from sqlalchemy import BigInteger, Column, Index, SmallInteger, String, Table, Text, text

from agent_node.store.sql.session_schema import metadata


def _key(length: int) -> String:
    return String(length).with_variant(String(length, collation="C"), "postgresql")


once = Table(
    "once",
    metadata,
    Column("tenant", _key(128), primary_key=True),
    Column("once_key", _key(256), primary_key=True),
    Column("run_id", String(32), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", String(128), nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("idempotent", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("session_id", String(128), nullable=False),
    Column("turn_id", String(128), nullable=False),
    Column("task_key", String(256), nullable=False),
    Column("result_json", Text, nullable=False),
    Column("error_type", Text, nullable=False),
    Column("error_text", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("expires_ns", BigInteger),
    Column("settled_ns", BigInteger),
    Column("deaths", SmallInteger, nullable=False, server_default="0"),
)
_OPEN = text("state IN (1, 2) AND expires_ns IS NULL")
"""PENDING and RUNNING, as numbers: an index's condition takes no parameters."""
_ENDED = text("expires_ns IS NOT NULL")
Index("once_open", once.c.tenant, once.c.once_key, sqlite_where=_OPEN, postgresql_where=_OPEN)
Index("once_expires", once.c.expires_ns, sqlite_where=_ENDED, postgresql_where=_ENDED)
