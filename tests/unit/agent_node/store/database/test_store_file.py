"""A store whose file is not the one that was opened acknowledges nothing, whatever was done to it, and says so."""

import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from agent_node.store import Ownership
from agent_node.store.sql.sessions import SqlStore
from agentring.errors import StoreReplaced
from agentring.ids import parse_session
from harness.stored_turns import accepted, completed, epoch

OpenSql = Callable[..., Awaitable[SqlStore]]
OWNED = Ownership(parse_session("", "s"), epoch(1), "n1/1")
LARGE = '{"state": "' + "x" * 200_000 + '"}'


def copied(path: Path) -> Path:
    """A consistent copy, as a backup makes it."""
    there = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(there)) as target:
        source.backup(target)
    return there


def moved_over(path: Path) -> None:
    copied(path).replace(path)


def moved_over_with_its_log(path: Path) -> None:
    there = copied(path)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink()
    there.replace(path)


def removed(path: Path) -> None:
    path.unlink()


def log_removed(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def log_replaced(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    shutil.copy(log, log.with_name("log"))
    log.with_name("log").replace(log)


def index_removed(path: Path) -> None:
    path.with_name(path.name + "-shm").unlink()


def directory_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def directory_replaced(path: Path) -> None:
    away = path.parent.with_name("elsewhere")
    path.parent.rename(away)
    shutil.copytree(away, path.parent)


def cut(path: Path) -> None:
    os.truncate(path, 0)


def cut_a_little(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def log_cut(path: Path) -> None:
    os.truncate(path.with_name(path.name + "-wal"), 0)


HARMS = [
    moved_over,
    moved_over_with_its_log,
    removed,
    log_removed,
    log_replaced,
    index_removed,
    directory_moved,
    directory_replaced,
    cut,
    cut_a_little,
    log_cut,
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there" / "store.db"


async def opened(open_sql: OpenSql, path: Path) -> SqlStore:
    """A store with a session in it, and something in its file beside the log."""
    store = await open_sql(f"sqlite:///{path}")
    await store.activate(OWNED, "agent")
    await store.accept_turn(OWNED, accepted(1), None)
    await store.commit_turn(OWNED, completed(accepted(1), LARGE))
    await store.accept_turn(OWNED, accepted(2), None)
    return store


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
async def test_nothing_is_acknowledged_after_it(path: Path, open_sql: OpenSql, harm: Callable[[Path], None]) -> None:
    store = await opened(open_sql, path)
    harm(path)
    for _ in range(2):
        with pytest.raises(StoreReplaced):
            await store.accept_turn(OWNED, accepted(3), None)
    with pytest.raises(StoreReplaced):
        await store.read(OWNED.ref)
    with pytest.raises(StoreReplaced):
        await store.clock.tick()
    assert store.driver.trouble == "STORE_REPLACED"
    assert store.driver.failures["STORE_REPLACED"] == 4


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
async def test_what_is_replaced_while_a_transaction_is_under_way_is_not_acknowledged(
    path: Path, open_sql: OpenSql, harm: Callable[[Path], None]
) -> None:
    store = await opened(open_sql, path)
    with pytest.raises(StoreReplaced):
        await store.driver.transact(lambda _: harm(path), retry=False)


async def test_a_link_that_leads_elsewhere_is_another_file(tmp_path: Path, path: Path, open_sql: OpenSql) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    store = await opened(open_sql, link)
    other = copied(path)
    link.unlink()
    link.symlink_to(other)
    with pytest.raises(StoreReplaced):
        await store.accept_turn(OWNED, accepted(3), None)


async def test_what_comes_back_is_taken_again(path: Path, open_sql: OpenSql) -> None:
    store = await opened(open_sql, path)
    away = path.parent.with_name("elsewhere")
    path.parent.rename(away)
    with pytest.raises(StoreReplaced):
        await store.accept_turn(OWNED, accepted(3), None)
    away.rename(path.parent)
    await store.accept_turn(OWNED, accepted(3), None)
    assert store.driver.trouble is None


async def test_a_node_that_only_reads_learns_that_it_is_back(path: Path, open_sql: OpenSql) -> None:
    store = await opened(open_sql, path)
    away = path.parent.with_name("elsewhere")
    path.parent.rename(away)
    with pytest.raises(StoreReplaced):
        await store.accept_turn(OWNED, accepted(3), None)
    assert store.driver.replaced.is_set()
    away.rename(path.parent)
    await store.read(OWNED.ref)
    assert not store.driver.replaced.is_set()
    assert store.driver.trouble == "STORE_REPLACED"


async def test_what_operators_and_other_nodes_do_properly_is_no_harm(path: Path, open_sql: OpenSql) -> None:
    store = await opened(open_sql, path)
    other = await open_sql(f"sqlite:///{path}")
    second = Ownership(parse_session("", "other"), epoch(2), "n2/1")
    await other.activate(second, "agent")
    for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
        with closing(sqlite3.connect(path)) as operator:
            operator.execute("DELETE FROM states")
            operator.commit()
            operator.execute(statement).fetchall()
        await store.accept_turn(OWNED, accepted(3), None)
        await other.accept_turn(second, accepted(1), None)
        await store.clock.tick()
    await other.close()
    await store.start_turn(OWNED, accepted(3))
    assert store.driver.failures == {}


async def test_closing_it_leaves_another_ones_log_alone_and_saves_what_was_in_a_removed_one(
    path: Path, open_sql: OpenSql
) -> None:
    store = await opened(open_sql, path)
    log_removed(path)
    with pytest.raises(StoreReplaced):
        await store.accept_turn(OWNED, accepted(3), None)
    await store.close()
    saved = await open_sql(f"sqlite:///{path}")
    assert await saved.read_turn(OWNED.ref, "t2") is not None
    moved_over_with_its_log(path)
    later = await open_sql(f"sqlite:///{path}")
    await later.activate(Ownership(OWNED.ref, epoch(2), "n2/1"), "agent")
    await saved.close()
    await later.accept_turn(Ownership(OWNED.ref, epoch(2), "n2/1"), accepted(3), None)
