"""Statements that every turn, activation or task needs, compiled once and carried out by the database's driver.

SQLAlchemy looks each execution of a statement up, checks its parameters and wraps its result, which takes three times
as long as SQLite takes for the statement itself, in the one thread that writes. So on SQLite the text and the order of
its parameters are made at the first use, and from then on the driver is given both. On PostgreSQL, whose driver is an
asyncio one, SQLAlchemy carries the statement out as any other.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Executable, RowMapping
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from agent_node.store.database.driver import SQLITE_OPTION

_DIALECT = sqlite.dialect(paramstyle="qmark")

Values = Mapping[str, Any]
Row = Mapping[str, Any] | RowMapping


class HotStatement:
    """One statement. May be used by several threads."""

    def __init__(self, statement: Executable | Mapping[str, Executable], columns: Sequence[str] = ()) -> None:
        """statement: by the dialect's name where the two say it differently. columns: those that an INSERT is given,
        all of them. No value or column of a result may be of a type that SQLAlchemy changes for SQLite."""
        self.statement: Any = statement
        """For what is made of it."""
        self._columns = columns
        self._text = ""
        self._in_order: Callable[[Values], Sequence[Any]] = _nothing

    def change(self, connection: Connection, values: Values) -> int:
        """Carries it out; how many rows it has changed."""
        if (driver := _sqlite(connection)) is not None:
            return self._execute(driver, values).rowcount
        return connection.execute(self._of(connection), values).rowcount

    def change_each(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Carries it out with each of these."""
        if (driver := _sqlite(connection)) is not None:
            text = self._text or self._compile()
            driver.executemany(text, map(self._in_order, rows))
        else:
            connection.execute(self._of(connection), rows)

    def scalar(self, connection: Connection, values: Values) -> Any:
        """Carries it out; the first column of its first row, None: there is none. It has one row at most."""
        if (driver := _sqlite(connection)) is not None:
            row = self._execute(driver, values).fetchone()
            return row[0] if row is not None else None
        return connection.execute(self._of(connection), values).scalar()

    def all(self, connection: Connection, values: Values) -> Sequence[Row]:
        """Carries it out; its rows, by the names of the columns."""
        if (driver := _sqlite(connection)) is not None:
            cursor = self._execute(driver, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        return connection.execute(self._of(connection), values).mappings().all()

    def first(self, connection: Connection, values: Values) -> Row | None:
        """As `all`, where there is one row at most; None: there is none."""
        rows = self.all(connection, values)
        return rows[0] if rows else None

    def _of(self, connection: Connection) -> Executable:
        statement: Executable = self._said_by(connection.dialect.name)
        return statement

    def _said_by(self, dialect: str) -> Any:
        return self.statement[dialect] if isinstance(self.statement, Mapping) else self.statement

    def _execute(self, driver: sqlite3.Connection, values: Values) -> sqlite3.Cursor:
        text = self._text or self._compile()
        return driver.execute(text, self._in_order(values))

    def _compile(self) -> str:
        statement = self._said_by("sqlite")
        assert isinstance(statement, ClauseElement)
        compiled = statement.compile(dialect=_DIALECT, column_keys=list(self._columns) or None)
        assert isinstance(compiled, SQLCompiler)
        names = compiled.positiontup or []
        constants = {name: parameter.value for name, parameter in compiled.binds.items() if not parameter.required}
        if constants or len(names) == 1:
            self._in_order = lambda values: [values[name] if name in values else constants[name] for name in names]
        elif names:
            self._in_order = itemgetter(*names)
        self._text = str(compiled)  # last: another thread that sees it uses the rest
        return self._text


def _nothing(_: Values) -> Sequence[Any]:
    return ()


def _sqlite(connection: Connection) -> sqlite3.Connection | None:
    driver = connection.get_execution_options().get(SQLITE_OPTION) or connection.connection.driver_connection
    return driver if isinstance(driver, sqlite3.Connection) else None
