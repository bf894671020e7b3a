"""What carries out the SQL stores' transactions: SQLite (sqlite.py) or PostgreSQL (postgres.py)."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")

SQLITE_OPTION = "agentring_sqlite"
"""A connection's execution option: the sqlite3.Connection beneath it. Asked for once a statement, SQLAlchemy's own way
to it takes as long as a short statement."""


class Driver(Protocol):
    """A database's way of carrying out transactions."""

    @property
    def file(self) -> str:
        """Names the file among the machine's, once something was read; empty: there is none."""

    async def transact(
        self,
        work: Callable[[Connection], T],
        *,
        retry: bool,
        at_once: Callable[[Connection], T | None] | None = None,
    ) -> T:
        """Carries out a transaction, durably. Raises what the work raises, and StoreUnavailable within a deadline:
        whether it landed is then unknown. retry: it may be tried again by itself. at_once: what writes the same as one
        statement, where that is better; None: it has written nothing, and the work is carried out."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Carries out what only reads. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Lets go of the database, once what is under way has ended."""
