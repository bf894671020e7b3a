"""Opens the store that a URL names, and makes sure that it is this cluster's.

Guarantees: the tables are there and are of our version, once one of the nodes that start has brought them there; a
database that belongs to another cluster, or to a later
generation of this one, is refused, so that epochs which do not compare never meet in it; a generation that has grown
(`agentring admin new-generation`) is written down, and nodes of the old one can raise nothing any more. An SQLite file
is refused on a second machine. Called by the node's app, at its start.
"""

import asyncio
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Connection, insert, inspect, select, text, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agent_node.store.database.counted import CountedDriver
from agent_node.store.database.driver import Driver
from agent_node.store.database.migration import HEAD, VersionUnknown, bring_to_head, is_at_head
from agent_node.store.database.postgres_url import address_of, files_of, is_verified
from agent_node.store.database.sqlite import SqliteDriver
from agent_node.store.sql.access_heads import read_heads
from agent_node.store.sql.access_schema import PAGE_TOKENS, store_secrets
from agent_node.store.sql.session_schema import cluster
from agent_node.store.sql.sessions import SqlStore
from agent_node.store.sql.shared_clock import SharedClock
from agentring.audit.chain import Head
from agentring.cluster.clock import BootClock, Clock
from agentring.errors import StoreUnavailable, StoreUnusable
from agentring.exposure import is_reached
from agentring.process import private_files
from agentring.secrets import without_password

MEMORY = "memory:"
_SQLITE = "sqlite:///"
_POSTGRESQL = "postgresql://"
_LOCK = 0x6167656E7472696E  # "agentrin": nobody else's advisory lock

_NOT_ALLOWED = "42501"
"""PostgreSQL's SQLSTATE of what a role may not do."""
_MIGRATION_S = 600.0
"""How long the tables may take to be brought up to date."""
_AGAIN_S = 1.0
_HEADS_S = 10.0

_WHY: dict[type[StoreUnavailable], str] = {
    StoreUnusable: ": the server does not let us in, or is not the one that sslmode and sslrootcert ask for, or is no "
    "database"
}

_log = structlog.get_logger()


_WHOSE = select(cluster.c.generation, cluster.c.cluster_uuid, cluster.c.machine_id, cluster.c.boot_id)
"""What every version of the tables has."""


class StoreRefused(Exception):
    """The store cannot or must not be used; the message says why."""


@dataclass(frozen=True, slots=True)
class ClusterIdentity:
    """Whose store it must be, and where it is opened."""

    generation: int
    cluster_uuid: str
    machine_id: str
    boot_id: str


def check_url(url: str) -> str:
    """The URL. Raises ValueError where there is no such store."""
    if url != MEMORY and not any(url.startswith(kind) and url != kind for kind in (_SQLITE, _POSTGRESQL)):
        raise ValueError(f"{without_password(url)!r} is neither {MEMORY} nor {_SQLITE}PATH nor {_POSTGRESQL}…")
    return url


async def open_store(
    url: str,
    identity: ClusterIdentity,
    *,
    timeout_s: float,
    max_history_turns: int,
    clock: Clock | None = None,
    wait_s: float = 0.0,
) -> SqlStore | None:
    """The durable store; None: the URL says that sessions are kept in memory.

    clock: the node's boot clock; None: the machine's own. wait_s: how long a store that does not answer is waited for:
    a server that starts, is not there yet, or has no connection left. Raises StoreRefused.
    """
    if url == MEMORY:
        return None
    clock = clock or BootClock()
    if url.startswith(_POSTGRESQL):
        await asyncio.to_thread(_look_at_way, url)
    until_s = clock.now_s() + wait_s
    while True:
        try:
            return await _opened(url, identity, timeout_s, max_history_turns, clock)
        except StoreUnavailable as error:
            if isinstance(error, StoreUnusable) or clock.now_s() >= until_s:
                why = f"{type(error).__name__}{_WHY.get(type(error), '')}"
                raise StoreRefused(f"the store {without_password(url)} cannot be used: {why}") from error
            _log.warning(
                "store_awaited", store=without_password(url), reason=error.reason, left_s=round(until_s - clock.now_s())
            )
        await clock.sleep(_AGAIN_S)


async def _opened(
    url: str, identity: ClusterIdentity, timeout_s: float, max_history_turns: int, clock: Clock
) -> SqlStore:
    """Raises StoreRefused, StoreUnavailable."""
    driver = CountedDriver(await _driver(url, timeout_s))
    try:
        if not await driver.read(is_at_head):
            await _bring_to_head(url, identity)
        store_uuid = await driver.transact(lambda connection: _take_possession(connection, identity), retry=True)
        secret = await driver.read(_page_secret)
        shared = SharedClock(driver, clock, uuid.uuid4().hex)
        await shared.tick()
    except SQLAlchemyError as error:
        await driver.close()
        raise StoreRefused(f"the store {without_password(url)} cannot be used: {type(error).__name__}") from error
    except BaseException:
        await driver.close()
        raise
    return SqlStore(driver, identity.generation, store_uuid, shared, secret, max_history_turns=max_history_turns)


async def enter_generation(store: SqlStore, identity: ClusterIdentity) -> None:
    """Lets an open store go on with a later generation of its cluster. Raises StoreRefused, StoreUnavailable."""
    if store.generation != identity.generation:
        await store.enter_generation(identity.generation, lambda connection: _take_possession(connection, identity))


async def read_access_heads(url: str) -> list[Head]:
    """What the store has of access logs' heads, whoever's store it is. Raises StoreRefused, StoreUnavailable,
    SQLAlchemyError."""
    if url == MEMORY or (url.startswith(_SQLITE) and not await asyncio.to_thread(os.path.exists, url[len(_SQLITE) :])):
        raise StoreRefused(f"there is no store {without_password(url)}")
    driver = await _driver(url, _HEADS_S)
    try:
        if not await driver.read(is_at_head):
            raise StoreRefused(f"the store {without_password(url)} is of another release than this")
        return await driver.read(read_heads)
    finally:
        await driver.close()


def machine_id() -> str:
    """Names this machine, also after it was booted anew; empty where nothing does."""
    path = Path("/etc/machine-id")
    try:
        return path.read_text().strip()
    except OSError:
        return os.uname().nodename


async def _driver(url: str, timeout_s: float) -> Driver:
    if url.startswith(_SQLITE):
        path = Path(url.removeprefix(_SQLITE))
        try:
            await asyncio.to_thread(_make_file, path)
            return SqliteDriver(path, timeout_s)
        except OSError as error:
            raise StoreRefused(f"the store {url} cannot be made: {error.strerror}") from error
    try:
        from agent_node.store.database.postgres import PostgresDriver

        return PostgresDriver(url.replace(_POSTGRESQL, "postgresql+asyncpg://", 1), timeout_s)
    except ModuleNotFoundError as error:
        raise StoreRefused("a store on PostgreSQL needs asyncpg: pip install agentring[postgres]") from error
    except ValueError as error:
        raise StoreRefused(f"the store {without_password(url)} cannot be used: {error}") from None
    except SQLAlchemyError as error:
        raise StoreRefused(f"the store {without_password(url)} cannot be used: {type(error).__name__}") from error


def _look_at_way(url: str) -> None:
    """Says so where somebody on the way may stand for the server. Raises StoreRefused: a file is not there."""
    try:
        for path in files_of(url):
            Path(path).open("rb").close()
        address = address_of(url)
        if address is not None and not is_verified(url) and is_reached(address):
            _log.warning("store_server_not_verified", store=without_password(url))
    except OSError as error:
        raise StoreRefused(
            f"the store {without_password(url)} cannot be used: {error.filename}: {error.strerror}"
        ) from None
    except (SQLAlchemyError, ValueError) as error:
        raise StoreRefused(f"the store {without_password(url)} cannot be used: {type(error).__name__}") from None


def _make_file(path: Path) -> None:
    if not path.parent.exists():  # one that is there may be anybody's
        private_files.make_directory(path.parent)
    private_files.make_database(path)


async def _bring_to_head(url: str, identity: ClusterIdentity) -> None:
    """Brings the tables up to date, which may take long, or waits for another node that does. Those of a store that
    must not be used are left as they are."""
    driver = await _driver(url, _MIGRATION_S)

    def migrate(connection: Connection) -> None:
        _lock(connection)
        if inspect(connection).has_table(cluster.name):
            _whose(connection, identity)
        try:
            bring_to_head(connection)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _NOT_ALLOWED:
                raise
            raise StoreRefused(
                f"the store's tables are not of this release's version, {HEAD}, and the node's role may not change "
                "them: run `agentring admin migrate` with their owner, and --grant with the node's role"
            ) from None

    try:
        await driver.transact(migrate, retry=True)
    except VersionUnknown as unknown:
        raise StoreRefused(
            f"the store's tables are of version {unknown.version}, which this release, whose own is {HEAD}, does not "
            "know: run the release that made them, or a later one"
        ) from None
    finally:
        await driver.close()


def _lock(connection: Connection) -> None:
    """Keeps the other nodes that open the store out. (On SQLite every transaction that writes does.)"""
    if connection.dialect.name != "sqlite":
        for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {limit} = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _take_possession(connection: Connection, identity: ClusterIdentity) -> str:
    """Returns the store's uuid."""
    _lock(connection)
    here = {"machine_id": identity.machine_id, "boot_id": identity.boot_id}
    if not _whose(connection, identity):
        whose = {"generation": identity.generation, "cluster_uuid": identity.cluster_uuid}
        connection.execute(insert(cluster), {"one": 1, **whose, **here, "store_uuid": str(uuid.uuid4())})
    else:
        connection.execute(update(cluster).values(generation=identity.generation, **here))
    return str(connection.execute(select(cluster.c.store_uuid)).scalar_one())


def _page_secret(connection: Connection) -> bytes:
    found = connection.execute(select(store_secrets.c.value).where(store_secrets.c.name == PAGE_TOKENS)).scalar_one()
    return bytes(found)


def _whose(connection: Connection, identity: ClusterIdentity) -> bool:
    """Whether it is this cluster's; False: nobody's yet. Raises StoreRefused."""
    row = connection.execute(_WHOSE).mappings().first()
    if row is None:
        return False
    if row["cluster_uuid"] != identity.cluster_uuid:
        raise StoreRefused(
            f"the store belongs to another cluster, {row['cluster_uuid']}, and this one is {identity.cluster_uuid}: "
            "give each cluster a store of its own, or bring back the etcd data that the store was made with"
        )
    if row["generation"] > identity.generation:
        raise StoreRefused(
            f"the store is of generation {row['generation']}, the cluster of {identity.generation}: etcd was restored "
            "to before `agentring admin new-generation`, which has to be run again, above the store's"
        )
    # A boot is of one machine alone; a machine that was booted anew is known by its id.
    on_sqlite = connection.dialect.name == "sqlite"
    if on_sqlite and row["boot_id"] != identity.boot_id and row["machine_id"] != identity.machine_id:
        raise StoreRefused("the store is an SQLite file of another machine; several machines need PostgreSQL")
    return True
