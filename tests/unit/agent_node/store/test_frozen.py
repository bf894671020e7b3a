"""A node frozen inside a transaction: what it holds up, for how long, and what becomes of its transaction."""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.util import await_only

from agent_node.store import EventRow, Ownership
from agent_node.store.database.postgres import PostgresDriver
from agent_node.store.database.sqlite import SqliteDriver
from agent_node.store.sql import session_transactions as transactions
from agent_node.store.sql.sessions import SqlStore
from agentring.errors import StaleEpoch, StoreUnavailable
from agentring.ids import parse_session
from harness.postgres import PostgresProcess
from harness.stored_turns import accepted, epoch

REF = parse_session("", "s")
OLD, NEW = Ownership(REF, epoch(1), "n1/1"), Ownership(REF, epoch(2), "n2/1")

OpenSql = Callable[..., Awaitable[SqlStore]]


def accept_and(then: Callable[[], object], connection: Connection) -> None:
    """A turn is accepted, and the node stands still before the commit."""
    transactions.accept_turn(connection, OLD, "c1", accepted(1), 0)
    then()


async def test_on_postgresql_the_server_ends_it_within_its_timeout(
    postgres: PostgresProcess, open_sql: OpenSql
) -> None:
    url = postgres.database()
    store, successor = await open_sql(url), await open_sql(url)
    await store.activate(OLD, "agent")
    thawed, frozen = asyncio.Event(), asyncio.Event()

    def freeze() -> None:
        frozen.set()
        await_only(thawed.wait())

    driver = PostgresDriver(url.replace("postgresql:", "postgresql+asyncpg:"), 10.0)
    writing = asyncio.create_task(driver.transact(partial(accept_and, freeze), retry=True))
    await frozen.wait()
    frozen_at_s = time.monotonic()
    found = await successor.activate(NEW, "agent")
    assert 0.5 < time.monotonic() - frozen_at_s < 2.0
    assert found.turns == {}
    thawed.set()
    with pytest.raises(StaleEpoch):  # its connection is gone; tried again, it meets the new epoch
        await writing
    assert await successor.read_turn(REF, "t1") is None
    await driver.close()


async def test_on_sqlite_others_wait_until_their_deadline_and_it_counts_as_earlier(
    tmp_path: Path, open_sql: OpenSql
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store, successor = await open_sql(url), await open_sql(url, timeout_s=0.3)
    await store.activate(OLD, "agent")
    thawed, frozen = threading.Event(), threading.Event()

    def freeze() -> None:
        frozen.set()
        thawed.wait()

    driver = SqliteDriver(tmp_path / "store.db", 10.0)
    writing = asyncio.create_task(driver.transact(partial(accept_and, freeze), retry=True))
    await asyncio.to_thread(frozen.wait)
    with pytest.raises(StoreUnavailable):
        await successor.activate(NEW, "agent")
    known = await successor.read(REF)  # reading goes on
    assert known is not None
    assert known.epoch == OLD.epoch
    thawed.set()
    await writing
    found = await successor.activate(Ownership(REF, epoch(3), "n2/1"), "agent")
    assert set(found.turns) == {"t1"}
    with pytest.raises(StaleEpoch):
        await store.extend_range(OLD, 99)
    await driver.close()


@pytest.mark.parametrize("end", ["turn", "lock"])
async def test_on_sqlite_one_frozen_while_it_waits_to_write_holds_nobody_up(
    tmp_path: Path, open_sql: OpenSql, end: str
) -> None:
    store = await open_sql(f"sqlite:///{tmp_path / 'store.db'}", timeout_s=5.0)
    frozen = os.open(tmp_path / f"store.db-{end}", os.O_RDWR)
    fcntl.flock(frozen, fcntl.LOCK_EX)
    try:
        await store.activate(OLD, "agent")
        begun_s = time.monotonic()
        for number in range(1, 4):
            await store.accept_turn(OLD, accepted(number), 0)
        assert time.monotonic() - begun_s < 2.0  # only the first one waited for it
    finally:
        os.close(frozen)
    assert (await store.accept_turn(OLD, accepted(4), 0)).known is None


async def test_a_stopped_server_is_unavailable_and_its_return_is_noticed(
    open_sql: OpenSql, own_postgres: PostgresProcess
) -> None:
    store = await open_sql(own_postgres.database(), timeout_s=1.0)
    await store.activate(OLD, "agent")
    own_postgres.stop()
    for write in (store.accept_turn(OLD, accepted(1), 0), store.activate(NEW, "agent"), store.read(REF)):
        with pytest.raises(StoreUnavailable):
            await write
    own_postgres.restart()
    assert (await store.accept_turn(OLD, accepted(2), 0)).known is None


async def test_a_write_whose_answer_was_lost_is_not_carried_out_twice(store: SqlStore, kind: str) -> None:
    if kind == "memory":
        pytest.skip("nothing is lost on the way to a volatile store")
    await store.activate(OLD, "agent")
    row = EventRow(1, 5, 0, b"events")
    driver = store.driver  # what the store does after a lost answer, done by hand
    first = await driver.transact(
        lambda connection: transactions.accept_turn(connection, OLD, "c1", accepted(1), 5, [row]), retry=True
    )
    again = await driver.transact(
        lambda connection: transactions.accept_turn(connection, OLD, "c1", accepted(1), 5, [row]), retry=True
    )
    assert (first, again.known) == (again, None)
    assert await store.read_events(REF, 0, 99) == [row]
    released = [
        await driver.transact(
            lambda connection: transactions.assert_owned(connection, OLD, "c2", 5, {"owner": "", "reserved_seq": 5}),
            retry=True,
        )
        for _ in range(2)
    ]
    assert released == [(3, True), (3, False)]
    with pytest.raises(StaleEpoch):
        await store.extend_range(OLD, 99)
