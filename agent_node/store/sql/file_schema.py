"""The tables of sessions' files in the SQL store, the same on SQLite and PostgreSQL."""

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, LargeBinary, SmallInteger, String, Table, delete

from agent_node.store.sql.session_schema import metadata, of_session

files = Table(
    "session_files",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("session_id", String(128), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("size_bytes", Integer, nullable=False),
    Column("is_whole", SmallInteger, nullable=False),
    Column("is_used", SmallInteger, nullable=False),
    Column("touched_ns", BigInteger, nullable=False),
)
Index(
    "session_files_unused",
    files.c.touched_ns,
    sqlite_where=files.c.is_used == 0,
    postgresql_where=files.c.is_used == 0,
)
chunks = Table(
    "session_file_chunks",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("session_id", String(128), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)


def forget(connection: Connection, keys: list[dict[str, str]]) -> None:
    """Removes all files of some sessions. keys: the parameters of `of_session`."""
    for table in (chunks, files):
        connection.execute(delete(table).where(of_session(table)), keys)
