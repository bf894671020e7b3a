"""Brings a database's tables to the version of this code.

Guarantees: what the tables hold outlives it; a database of a version that this code does not know is refused before
anything in it is changed. All happens in the caller's transaction, which has to keep others out: half of it is never
seen. The versions are Alembic's, in `migrations/versions`, each saying for itself what the tables were then; what the
tables are now is said by store/sql/session_schema.py and its neighbours, and tests compare the two.

Tables that were made before versions were written down are known by what there is of them. Called by store/opening.py.
"""

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

HEAD = "0017"
"""The last of `migrations/versions`, each of which has a number of its own."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32)))
"""Alembic's own."""
_UNWRITTEN = {"tasks": "0004", "inputs": "0003", "events": "0002", "sessions": "0001"}
"""The versions that were never written down, newest first, each by the table that it brought."""


class VersionUnknown(Exception):
    """The database's tables are of a version that this code does not know."""

    def __init__(self, version: str) -> None:
        self.version = version


def is_at_head(connection: Connection) -> bool:
    """Whether there is nothing to do."""
    return _written(connection) == HEAD


def bring_to_head(connection: Connection) -> None:
    """Makes the tables, or brings them up to date. The caller's transaction keeps others out. Raises VersionUnknown."""
    written = _written(connection)
    if written == HEAD:
        return  # somebody else was first
    # Slow to import, and needed only now.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if written is not None and written not in known:
        raise VersionUnknown(written)
    tables = inspect(connection).get_table_names()
    if written is None and (unwritten := next((each for table, each in _UNWRITTEN.items() if table in tables), None)):
        command.stamp(config, unwritten)
    command.upgrade(config, "head")


def _written(connection: Connection) -> str | None:
    """The version that the database says it has; None: it says nothing."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    version: str | None = connection.execute(select(_VERSION)).scalar()
    return version
