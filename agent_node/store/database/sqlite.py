"""SQLite as the store: one file, shared by the nodes of one machine.

Guarantees: what was committed is on the disk (WAL, synchronous=FULL); a node's transactions are grouped; a wait for
another node's lock ends; nothing is acknowledged once the file at the path is not the one that was opened
(store_file.py). One process writes at a time, so a node that is frozen inside a transaction holds the others up until
it goes on or is killed; its transaction is then older than theirs, so it harms nothing else. The file must not be on a
network's file system: locks do not work there, and the cluster's row (store/opening.py) refuses a second machine.

Nodes take turns by a lock of the system's (write_lock.py). Where somebody else writes all the same, or stands still in
turn, SQLite's write lock is asked for at intervals of our own: SQLite's grow to 100 ms, an age beside transactions of
1 ms. The standard library's driver, on a thread: an asyncio driver would change threads for every statement.
"""

import asyncio
import ctypes
import sqlite3
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DatabaseError

from agent_node.store.database.driver import SQLITE_OPTION
from agent_node.store.database.group_commit import GroupCommit, Outcome, Take, work_off
from agent_node.store.database.store_file import StoreFile
from agent_node.store.database.write_lock import WriteLock
from agentring.errors import StoreFull, StoreUnavailable, StoreUnusable

_LOCK_POLL_S = 0.0005
_LOCK_SHARE = 0.8
"""Of the deadline: how long others may hold the lock, so that the error names the cause, not only the time-out."""
_PATIENCE_S, _PATIENCE_SHARE = 0.5, 0.2
"""How long the system's lock is waited for, before SQLite's is asked for all the same; at most that share of the
deadline."""
_SWITCH_S = 0.0005
_WRITES = "agentring_writes"

_FOR_GOOD = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)

T = TypeVar("T")

_log = structlog.get_logger()


class SqliteDriver:
    """Transactions on one SQLite file. Resource handling: `close()`."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        """timeout_s: the deadline of one transaction. Threads of the process change more often from now on."""
        # A busy event loop would keep the writer's thread waiting for 5 ms after each of a group's statements.
        sys.setswitchinterval(min(_SWITCH_S, sys.getswitchinterval()))
        self._timeout_s = timeout_s
        self._file = StoreFile(path.absolute())
        self._lock = WriteLock(path.resolve())
        self._engine = _open(path, _LOCK_SHARE * timeout_s)
        self._writes: GroupCommit[Connection] = GroupCommit(self._commit, timeout_s)
        self._writer: Connection | None = None
        self._reads = ThreadPoolExecutor(1, "store-reader")
        self._reader: Connection | None = None

    @property
    def file(self) -> str:
        """As Driver."""
        return self._file.name

    def transact(
        self,
        work: Callable[[Connection], T],
        *,
        retry: bool,
        at_once: Callable[[Connection], T | None] | None = None,
    ) -> Coroutine[Any, Any, T]:
        """As Driver. There is nothing to try again: a commit that fails is undone."""
        return self._writes.transact(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """As Driver."""
        reading = asyncio.get_running_loop().run_in_executor(self._reads, self._read, work)
        try:
            async with asyncio.timeout(self._timeout_s):
                with _translated():
                    return await reading
        except TimeoutError:
            raise StoreUnavailable from None

    async def close(self) -> None:
        """As Driver."""
        await self._writes.close()
        self._lock.close()
        await asyncio.to_thread(self._reads.shutdown)
        connections, self._writer, self._reader = (self._writer, self._reader), None, None
        for connection in connections:
            if connection is None:
                continue
            if self._file.may_be_closed:
                connection.close()
            else:  # never, not even when the process's objects go
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection.connection.driver_connection))
        self._engine.dispose()

    def _commit(self, take: Take[Connection]) -> list[Outcome]:
        until_s = time.monotonic() + _LOCK_SHARE * self._timeout_s
        patience_s = min(_PATIENCE_S, _PATIENCE_SHARE * self._timeout_s)
        with _translated(), self._lock.held(patience_s):
            if self._writer is None:
                self._file.check()
                self._writer = _with_driver(self._engine.connect().execution_options(**{_WRITES: True}))
                _driver(self._writer).execute("PRAGMA busy_timeout = 0")
            with _transaction(self._writer, until_s):
                self._file.check()
                outcomes = work_off(self._writer, take())
                self._file.learn()
            # Invariant: nothing is acknowledged once the file at the path is another one
            # (tests/unit/agent_node/store/database/test_store_file.py).
            self._file.check()
            return outcomes

    def _read(self, work: Callable[[Connection], T]) -> T:
        self._file.check()
        if self._reader is None:
            self._reader = _with_driver(self._engine.connect())
        with self._reader.begin():
            found = work(self._reader)
            self._file.learn()
        self._file.check()
        return found


@contextmanager
def _transaction(connection: Connection, until_s: float) -> Iterator[None]:
    """One that writes, which SQLAlchemy takes part in where a work executes something by it. until_s: as _patiently."""
    driver = _driver(connection)
    _end_unended(driver)
    _patiently(driver, "BEGIN IMMEDIATE", until_s)
    try:
        yield
        if connection.in_transaction():
            connection.commit()
        else:
            driver.execute("COMMIT")
    except BaseException:
        connection.rollback()
        _end_unended(driver)
        raise


@contextmanager
def _translated() -> Iterator[None]:
    """Errors about the file, its disk or its lock leave as StoreUnavailable, those about a statement as they are."""
    try:
        yield
    except (DatabaseError, sqlite3.Error) as error:
        if (unavailable := _unavailable(error)) is None:
            raise
        raise unavailable from None


def _unavailable(error: DatabaseError | sqlite3.Error) -> StoreUnavailable | None:
    """What the error says of the file, its disk or its lock; None: it is about the statement."""
    cause = error.orig if isinstance(error, DatabaseError) else error
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if not isinstance(cause, sqlite3.OperationalError) and code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return None
    _log.warning("store_failed", sqlite=getattr(cause, "sqlite_errorname", ""))
    if code == sqlite3.SQLITE_FULL:
        return StoreFull()
    return StoreUnusable() if code in _FOR_GOOD else StoreUnavailable()


def _open(path: Path, timeout_s: float) -> Engine:
    """An engine whose connections begin transactions explicitly: the driver would begin late, without the lock."""
    engine = create_engine(
        # Made of parts, since in a URL's text `?` and `%` mean something; absolute, since SQLite reads some names so.
        URL.create("sqlite", database=str(path.absolute())),
        poolclass=NullPool,
        connect_args={"isolation_level": None, "timeout": 0, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _set_up(driver: sqlite3.Connection, _record: object) -> None:
        # Two that make a file's first connections at once: SQLite does not let one wait for the other.
        driver.execute("PRAGMA busy_timeout = 0")
        _patiently(driver, "PRAGMA journal_mode = WAL", time.monotonic() + timeout_s)
        driver.execute(f"PRAGMA busy_timeout = {int(timeout_s * 1000)}")  # for reads
        driver.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(_WRITES):  # else it has begun, when the writer had the lock
            _end_unended(_driver(connection))
            _driver(connection).execute("BEGIN")

    return engine


def _end_unended(driver: sqlite3.Connection) -> None:
    if driver.in_transaction:  # it could not even be undone before, and would be in everybody's way for ever
        driver.execute("ROLLBACK")


def _with_driver(connection: Connection) -> Connection:
    return connection.execution_options(**{SQLITE_OPTION: connection.connection.driver_connection})


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.get_execution_options().get(SQLITE_OPTION) or connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _patiently(driver: sqlite3.Connection, statement: str, until_s: float) -> None:
    """Carries out what needs a lock of the file, by a connection that itself does not wait for any. until_s: of the
    monotonic clock. Raises sqlite3.OperationalError if others hold it for so long."""
    while True:
        try:
            driver.execute(statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until_s:
                raise
            time.sleep(_LOCK_POLL_S)
        else:
            return
