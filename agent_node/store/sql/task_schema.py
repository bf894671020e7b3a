"""The table of tasks in the SQL store, the same on SQLite and PostgreSQL.

One row a key. The keys are compared byte by byte, whatever the database's language, so that pages and prefixes mean
the same everywhere. The two indexes hold only what is looked for: tasks that have not ended, and those that have, by
the end of their retention.
"""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, String, Table, text

from agent_node.store.sql.session_schema import metadata
from agent_node.store.sql.text_column import NulSafeText


def _key(length: int) -> String:
    return String(length).with_variant(String(length, collation="C"), "postgresql")


tasks = Table(
    "tasks",
    metadata,
    Column("tenant", _key(128), primary_key=True),
    Column("task_key", _key(256), primary_key=True),
    Column("agent", String(256), nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("retention_ns", BigInteger, nullable=False),
    Column("cancel_when_unwatched", SmallInteger, nullable=False),
    Column("request_id", String(40), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", String(128), nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("commit_number", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("expires_ns", BigInteger),
    Column("may_begin_anew", SmallInteger, nullable=False),
    Column("outcome", LargeBinary, nullable=False),
    Column("story", LargeBinary, nullable=False),
    Column("text", NulSafeText),
    Column("deaths", SmallInteger, nullable=False, server_default="0"),
)
Index(
    "tasks_open",
    tasks.c.tenant,
    tasks.c.task_key,
    sqlite_where=text("ended_ns IS NULL"),
    postgresql_where=text("ended_ns IS NULL"),
)
Index(
    "tasks_expire",
    tasks.c.expires_ns,
    sqlite_where=text("expires_ns IS NOT NULL"),
    postgresql_where=text("expires_ns IS NOT NULL"),
)
