"""Whatever a driver raises that is not about the statement itself is a store that does not answer."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from agent_node.store import Ownership
from agent_node.store.database.driver import SQLITE_OPTION
from agent_node.store.database.postgres import PostgresDriver
from agent_node.store.database.sqlite import SqliteDriver
from agent_node.store.sql.sessions import SqlStore
from agentring.errors import StoreFull, StoreUnavailable, StoreUnusable
from agentring.ids import parse_session
from harness.clock import PATIENCE_S
from harness.postgres import PostgresProcess
from harness.stored_turns import accepted, epoch

OWNED = Ownership(parse_session("", "s"), epoch(1), "n1/1")

OpenSql = Callable[..., Awaitable[SqlStore]]


def said_by_server(sqlstate: str) -> Callable[[Connection], None]:
    """A transaction in which PostgreSQL says this."""

    def work(connection: Connection) -> None:
        connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{sqlstate}'; END $$"))

    return work


def raising(error: Exception) -> Callable[[Connection], None]:
    def work(_: Connection) -> None:
        raise error

    return work


@pytest.fixture
async def on_postgres(postgres: PostgresProcess) -> AsyncIterator[PostgresDriver]:
    driver = PostgresDriver(postgres.database().replace("postgresql:", "postgresql+asyncpg:"), 0.5)
    yield driver
    await driver.close()


@pytest.fixture
async def on_sqlite(tmp_path: Path) -> AsyncIterator[SqliteDriver]:
    driver = SqliteDriver(tmp_path / "store.db", PATIENCE_S)
    yield driver
    await driver.close()


@pytest.mark.parametrize("retry", [True, False])
@pytest.mark.parametrize(
    "sqlstate",
    [
        pytest.param("25006", id="read-only"),
        pytest.param("25P03", id="stood-still"),
        pytest.param("28000", id="not-let-in"),
        pytest.param("40001", id="conflict"),
        pytest.param("42501", id="not-ours"),
        pytest.param("42P01", id="no-tables"),
        pytest.param("53200", id="no-memory"),
        pytest.param("55P03", id="locked"),
        pytest.param("57P03", id="starting-up"),
        pytest.param("58030", id="disk-error"),
        pytest.param("XX001", id="damaged"),
        pytest.param("ZZ999", id="never-heard-of"),
    ],
)
async def test_what_a_server_says_of_itself_is_a_store_that_does_not_answer(
    on_postgres: PostgresDriver, sqlstate: str, retry: bool
) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        await on_postgres.transact(said_by_server(sqlstate), retry=retry)
    assert type(refused.value) is (StoreUnusable if sqlstate == "28000" else StoreUnavailable)
    with pytest.raises(StoreUnavailable):
        await on_postgres.read(said_by_server(sqlstate))


@pytest.mark.parametrize("retry", [True, False])
async def test_a_server_without_space_is_a_full_store_at_once(on_postgres: PostgresDriver, retry: bool) -> None:
    with pytest.raises(StoreFull):
        await on_postgres.transact(said_by_server("53100"), retry=retry)


async def test_what_is_wrong_with_a_statement_is_our_own_fault(
    on_postgres: PostgresDriver, on_sqlite: SqliteDriver
) -> None:
    with pytest.raises(DBAPIError):
        await on_postgres.transact(said_by_server("23505"), retry=True)
    with pytest.raises(ProgrammingError):
        await on_postgres.transact(lambda connection: connection.execute(text("NONSENSE")), retry=True)

    def twice(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE t (one INTEGER PRIMARY KEY)"))
        for _ in range(2):
            connection.execute(text("INSERT INTO t VALUES (1)"))

    with pytest.raises(IntegrityError):
        await on_sqlite.transact(twice, retry=True)


async def test_a_database_that_takes_no_connections_does_not_answer(postgres: PostgresProcess) -> None:
    url = postgres.database()
    name = url.rpartition("/")[2]
    driver = PostgresDriver(url.replace("postgresql:", "postgresql+asyncpg:"), 0.5)
    postgres.ask(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", "postgres")
    with pytest.raises(StoreUnavailable):
        await driver.read(lambda _: None)
    postgres.ask(f"DROP DATABASE {name}", "postgres")
    with pytest.raises(StoreUnavailable):
        await driver.transact(lambda _: None, retry=False)
    postgres.ask(f"CREATE DATABASE {name}", "postgres")
    await driver.read(lambda _: None)
    await driver.close()


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.TargetServerAttributeNotMatched("only a standby is there"),
        asyncpg.UndefinedObjectError("a parameter that is asked for with the connection"),
        OSError(113, "no"),
    ],
)
async def test_what_the_driver_raises_untranslated_is_translated(on_postgres: PostgresDriver, error: Exception) -> None:
    with pytest.raises(StoreUnavailable):
        await on_postgres.transact(raising(error), retry=False)


async def test_a_plan_from_before_the_tables_were_changed_is_made_anew(postgres: PostgresProcess) -> None:
    url = postgres.database()
    driver = PostgresDriver(url.replace("postgresql:", "postgresql+asyncpg:"), 5.0)
    postgres.ask("CREATE TABLE t (a varchar); INSERT INTO t VALUES ('x')", url.rpartition("/")[2])

    def read(connection: Connection) -> list[tuple[object, ...]]:
        return [tuple(row) for row in connection.execute(text("SELECT * FROM t"))]

    assert await driver.read(read) == [("x",)]
    postgres.ask("ALTER TABLE t ADD COLUMN b integer DEFAULT 1", url.rpartition("/")[2])
    assert await driver.read(read) == [("x", 1)]
    await driver.close()


async def test_a_store_whose_tables_are_gone_does_not_answer_until_they_are_back(
    postgres: PostgresProcess, open_sql: OpenSql
) -> None:
    url = postgres.database()
    database = url.rpartition("/")[2]
    store = await open_sql(url)
    await store.activate(OWNED, "agent")
    postgres.ask("ALTER TABLE sessions RENAME TO elsewhere", database)
    for asked in (store.accept_turn(OWNED, accepted(1), 0), store.read(OWNED.ref), store.list_open(None, 1)):
        with pytest.raises(StoreUnavailable):
            await asked
    postgres.ask("ALTER TABLE elsewhere RENAME TO sessions", database)
    assert (await store.accept_turn(OWNED, accepted(1), 0)).known is None


async def test_a_server_that_takes_no_writes_does_not_answer_until_it_does(
    postgres: PostgresProcess, open_sql: OpenSql
) -> None:
    url = postgres.database()
    store = await open_sql(url)
    await store.activate(OWNED, "agent")

    def read_only(on: str) -> Callable[[Connection], object]:
        return lambda connection: connection.execute(text(f"SET default_transaction_read_only = {on}"))

    await store.driver.transact(read_only("on"), retry=False)  # there is one connection as yet, which is used again
    with pytest.raises(StoreUnavailable):
        await store.accept_turn(OWNED, accepted(1), 0)
    assert store.driver.trouble == "STORE_UNAVAILABLE"
    await store.driver.transact(read_only("off"), retry=False)
    assert (await store.accept_turn(OWNED, accepted(1), 0)).known is None
    assert store.driver.trouble is None


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize(
    ("name", "unavailable"),
    [
        ("SQLITE_IOERR_FSYNC", StoreUnavailable),
        ("SQLITE_CANTOPEN", StoreUnusable),
        ("SQLITE_READONLY_DBMOVED", StoreUnusable),
        ("SQLITE_FULL", StoreFull),
        ("SQLITE_CORRUPT", StoreUnusable),
        ("SQLITE_NOTADB", StoreUnusable),
    ],
)
async def test_what_sqlite_says_of_the_file_is_a_store_that_does_not_answer(
    on_sqlite: SqliteDriver, name: str, unavailable: type[StoreUnavailable], writes: bool
) -> None:
    code = getattr(sqlite3, name)
    kind = sqlite3.DatabaseError if name in ("SQLITE_CORRUPT", "SQLITE_NOTADB") else sqlite3.OperationalError
    error = kind("not for clients")
    error.sqlite_errorcode, error.sqlite_errorname = code, name

    def asked() -> Awaitable[object]:
        return on_sqlite.transact(one, retry=True) if writes else on_sqlite.read(one)

    def one(connection: Connection) -> int:
        return int(connection.execute(text("SELECT 1")).scalar_one())

    assert await asked() == 1
    raised = threading.Event()

    def fails(*_: object) -> None:
        raised.set()
        raise error

    # Raised where a transaction has just begun, it comes through SQLAlchemy as it is, and nobody undoes anything.
    event.listen(on_sqlite._engine, "begin", fails)
    with pytest.raises(StoreUnavailable) as refused:
        await asked()
    assert type(refused.value) is unavailable
    assert raised.is_set()
    event.remove(on_sqlite._engine, "begin", fails)
    assert await asked() == 1


async def test_a_read_that_never_ends_is_given_up_and_so_are_those_behind_it(on_sqlite: SqliteDriver) -> None:
    goes_on = threading.Event()
    stuck = asyncio.create_task(on_sqlite.read(lambda _: goes_on.wait()))
    behind = asyncio.create_task(on_sqlite.read(lambda _: 1))
    for waits in (stuck, behind):
        with pytest.raises(StoreUnavailable):
            await waits
    goes_on.set()
    assert await on_sqlite.read(lambda _: 1) == 1


@pytest.mark.parametrize("by_sqlalchemy", [True, False])
async def test_a_commit_that_fails_undoes_its_group_and_the_next_begins(
    on_sqlite: SqliteDriver, by_sqlalchemy: bool
) -> None:
    """A foreign key that is compared at the commit alone."""

    def carried_out(*statements: str) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            for statement in statements:
                if by_sqlalchemy:
                    connection.execute(text(statement))
                else:
                    connection.get_execution_options()[SQLITE_OPTION].execute(statement)

        return work

    owner = "owner TEXT REFERENCES owners (name) DEFERRABLE INITIALLY DEFERRED"
    await on_sqlite.transact(
        carried_out("CREATE TABLE owners (name TEXT PRIMARY KEY)", f"CREATE TABLE owned ({owner})"), retry=True
    )
    writer = on_sqlite._writer
    assert writer is not None
    writer.get_execution_options()[SQLITE_OPTION].execute("PRAGMA foreign_keys = ON")
    with pytest.raises((IntegrityError, sqlite3.IntegrityError)):
        await on_sqlite.transact(carried_out("INSERT INTO owned VALUES ('nobody')"), retry=True)
    assert not writer.in_transaction()
    await on_sqlite.transact(carried_out("INSERT INTO owners VALUES ('n1')"), retry=True)
    await on_sqlite.transact(carried_out("INSERT INTO owned VALUES ('n1')"), retry=True)
    rows = await on_sqlite.read(lambda connection: connection.execute(text("SELECT owner FROM owned")).scalars().all())
    assert rows == ["n1"]
