"""PostgreSQL as the store: for nodes on several machines.

Guarantees: what was committed is kept as the server is set up to keep it; a node that is frozen or cut off inside a
transaction holds nobody up for longer than the server's time-outs, which every connection asks for; a write whose
connection broke is tried again until its deadline, and is not carried out twice (its commit_id is compared); whatever
the server or the driver says that is not about the statement itself is a store that does not answer, also what is said
while a connection is being made. Each session's writes are transactions of their own: the server groups their commits
by itself.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

import asyncpg
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from agent_node.store.database.postgres_url import split
from agentring.errors import StoreFull, StoreUnavailable, StoreUnusable

_CONNECTIONS = 16
_RETRY_S = 0.05
_SERVER_SETTINGS = {
    "application_name": "agentring",
    "idle_in_transaction_session_timeout": "1000",
    "lock_timeout": "2000",
    "statement_timeout": "3000",
    "synchronous_commit": "on",
}
"""Times in ms. The first bounds how long a node frozen inside a transaction holds the session's row."""
_PASSING = ("08", "0A000", "25P03", "40", "53", "55", "57")
"""SQLSTATE, mostly classes, of what may go better at once: connection, a plan from before the tables were changed, a
process that stood still inside a transaction, conflict, resources, locks, operator."""
_OF_THE_STATEMENT = ("21", "22", "23", "42")
"""SQLSTATE classes of what is our own fault, and no trouble of the store's."""
_OF_THE_TABLES = ("42501", "42P01")
"""But for these: the tables are not there, or not ours, as while a backup is being restored."""
_DISK_FULL = "53100"
_WHO_WE_ARE = "28"
"""Class: the server does not let us in."""
_WHO_IT_IS = (ssl.SSLCertVerificationError, asyncpg.ClientConfigurationError)
"""Its certificate is not one to trust, or there is no authority to check it against."""
_ERRORS = (
    DBAPIError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    PoolTimeout,
)
"""SQLAlchemy does not translate what the driver raises while it connects."""

T = TypeVar("T")

_log = structlog.get_logger()


class PostgresDriver:
    """Transactions on a PostgreSQL server. Resource handling: `close()`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """url: postgresql+asyncpg://…, what it says about TLS as libpq has it; timeout_s: the deadline of one
        transaction. Raises ValueError, SQLAlchemyError."""
        self._timeout_s = timeout_s
        server, tls = split(url)
        self._engine = create_async_engine(
            server,
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_timeout=timeout_s,
            connect_args={
                "timeout": timeout_s,
                "command_timeout": timeout_s,
                "server_settings": _SERVER_SETTINGS,
                **tls,
            },
        )

        self._statements = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        """The same connections, on which each statement is a transaction: one way to the server, not one more for its
        beginning and its end."""

    @property
    def file(self) -> str:
        """As Driver."""
        return ""

    async def transact(
        self,
        work: Callable[[Connection], T],
        *,
        retry: bool,
        at_once: Callable[[Connection], T | None] | None = None,
    ) -> T:
        """As Driver."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        if at_once is not None:
                            async with self._statements.connect() as connection:
                                done = await connection.run_sync(at_once)
                            if done is not None:
                                return done
                        async with self._engine.begin() as connection:
                            return await connection.run_sync(work)
                    except _ERRORS as error:
                        if _is_of_the_statement(error):
                            raise
                        _log.warning("store_failed", error=type(error).__name__, sqlstate=_sqlstate(error))
                        if _sqlstate(error) == _DISK_FULL:
                            raise StoreFull from None
                        if _sqlstate(error).startswith(_WHO_WE_ARE) or isinstance(error, _WHO_IT_IS):
                            raise StoreUnusable from None
                        if not (retry and _is_passing(error)):
                            raise StoreUnavailable from None
                    await asyncio.sleep(_RETRY_S)
        except TimeoutError:
            raise StoreUnavailable from None

    async def read(self, work: Callable[[Connection], T]) -> T:
        """As Driver."""
        return await self.transact(work, retry=True)

    async def close(self) -> None:
        """As Driver."""
        await self._engine.dispose()


def _is_of_the_statement(error: Exception) -> bool:
    if not isinstance(error, DBAPIError):
        return False  # it was said before there was any
    sqlstate = _sqlstate(error)
    return sqlstate.startswith(_OF_THE_STATEMENT) and sqlstate not in _OF_THE_TABLES


def _is_passing(error: Exception) -> bool:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    sqlstate = _sqlstate(error)
    return not sqlstate or sqlstate.startswith(_PASSING)


def _sqlstate(error: Exception) -> str:
    """Empty: it was not the server that said it."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return getattr(said, "sqlstate", None) or ""
