"""Statements that every turn needs, compiled once and carried out by the database's driver.

SQLAlchemy looks each execution of a statement up, checks its parameters and wraps its result, which takes three times
as long as SQLite takes for the statement itself, in the one thread that writes. So on SQLite the text and the order of
its parameters are made at the first use, and from then on the driver is given both. On PostgreSQL, whose driver is an
asyncio one, SQLAlchemy carries the statement out as any other. Used by session_transactions.py and session_events.py.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

_DIALECT = sqlite.dialect(paramstyle="qmark")

Values = Mapping[str, Any]


class HotStatement:
    """One statement."""

    def __init__(self, statement: Executable | Mapping[str, Executable], columns: Sequence[str] = ()) -> None:
        """statement: by the dialect's name where the two say it differently. columns: those that an INSERT is given,
        all of them. None of the values may be of a type that SQLAlchemy changes for SQLite."""
        self._statement = statement
        self._columns = columns
        self._text = ""
        self._names: list[str] = []
        self._constants: dict[str, Any] = {}

    def change(self, connection: Connection, values: Values) -> int:
        """Carries it out; how many rows it has changed."""
        if (driver := _sqlite(connection)) is not None:
            return driver.execute(*self._compiled(values)).rowcount
        return connection.execute(self._of(connection), values).rowcount

    def change_each(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Carries it out with each of these."""
        if (driver := _sqlite(connection)) is not None:
            text, _ = self._compiled(rows[0])
            driver.executemany(text, [self._compiled(values)[1] for values in rows])
        else:
            connection.execute(self._of(connection), rows)

    def scalar(self, connection: Connection, values: Values) -> Any:
        """Carries it out; the first column of its first row, None: there is none. It has one row at most."""
        if (driver := _sqlite(connection)) is not None:
            row = driver.execute(*self._compiled(values)).fetchone()
            return row[0] if row is not None else None
        return connection.execute(self._of(connection), values).scalar()

    def _of(self, connection: Connection) -> Executable:
        return self._statement if isinstance(self._statement, Executable) else self._statement[connection.dialect.name]

    def _compiled(self, values: Values) -> tuple[str, list[Any]]:
        if not self._text:
            self._compile()
        constants = self._constants
        return self._text, [constants[name] if name in constants else values[name] for name in self._names]

    def _compile(self) -> None:
        statement = self._statement if isinstance(self._statement, Executable) else self._statement["sqlite"]
        assert isinstance(statement, ClauseElement)
        compiled = statement.compile(dialect=_DIALECT, column_keys=list(self._columns) or None)
        assert isinstance(compiled, SQLCompiler)
        given = set(self._columns) | set(_parameters_without_value(compiled.params))
        self._constants = {name: value for name, value in compiled.params.items() if name not in given}
        self._names = list(compiled.positiontup or ())
        self._text = str(compiled)


def _parameters_without_value(params: Mapping[str, Any]) -> list[str]:
    """Those that a statement is given; the others are constants that stand in it."""
    return [name for name, value in params.items() if value is None]


def _sqlite(connection: Connection) -> sqlite3.Connection | None:
    driver = connection.connection.driver_connection
    return driver if isinstance(driver, sqlite3.Connection) else None
