"""How many bytes the store keeps of one session, in whichever table."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

from harness.postgres import PostgresProcess

Columns = dict[str, list[tuple[str, str]]]
"""Of each table: names and types."""


def stored_in_sqlite(file: Path, session_id: str) -> dict[str, int]:
    """The bytes of each table."""
    with closing(sqlite3.connect(file, timeout=30)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns: Columns = {
            table: [(name, kind) for _, name, kind, *_ in database.execute(f"PRAGMA table_info({table})")]
            for table in tables
        }
        return {
            table: int(database.execute(query).fetchone()[0] or 0)
            for table, query in _queries(columns, session_id, "length(CAST({} AS BLOB))").items()
        }


def stored_in_postgres(server: PostgresProcess, database: str, session_id: str) -> dict[str, int]:
    """As stored_in_sqlite, before PostgreSQL compresses anything."""
    columns: Columns = defaultdict(list)
    listed = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
    for line in server.ask(listed, database).splitlines():
        table, name, kind = line.split("|")
        columns[table].append((name, kind))
    found = {}
    for table, query in _queries(columns, session_id, "octet_length({}::text)").items():
        found[table] = int(server.ask(query, database) or 0)
    return found


def _queries(columns: Columns, session_id: str, length: str) -> dict[str, str]:
    """One for each table that knows sessions, or the lives of their turns."""
    lives = f"SELECT life_id FROM turns WHERE session_id = '{session_id}'"  # noqa: S608
    queries = {}
    for table, found in columns.items():
        names = {name for name, _ in found}
        if "session_id" in names:
            of_session = f"session_id = '{session_id}'"
        elif "life_id" in names:
            of_session = f"life_id IN ({lives})"
        else:
            continue
        lengths = (
            f"coalesce(octet_length({name}), 0)" if kind == "bytea" else f"coalesce({length.format(name)}, 0)"
            for name, kind in found
        )
        queries[table] = f"SELECT sum({' + '.join(lengths)}) FROM {table} WHERE {of_session}"  # noqa: S608
    return queries
