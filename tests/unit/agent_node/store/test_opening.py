"""Whose store it is: what is refused at its opening, and what is not."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent_node.store import Ownership
from agent_node.store.opening import StoreRefused, check_url, open_store
from agent_node.store.sql.sessions import SqlStore
from agentring.errors import StaleEpoch
from agentring.ids import Epoch, parse_session
from harness.clock import FakeClock
from harness.postgres import PostgresProcess
from harness.stored_turns import HERE, epoch

OWNED = Ownership(parse_session("", "s"), epoch(1), "n1/1")

TIMEOUT_S = 5.0

OpenSql = Callable[..., Awaitable[SqlStore]]


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
async def test_a_store_keeps_its_own_name(url: str, open_sql: OpenSql, tmp_path: Path) -> None:
    first = await open_sql(url)
    assert (await open_sql(url)).uuid == first.uuid != ""
    assert (await open_sql(f"sqlite:///{tmp_path}/other.db")).uuid != first.uuid


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
async def test_another_cluster_and_an_earlier_generation_are_refused(url: str, open_sql: OpenSql) -> None:
    await open_sql(url, replace(HERE, generation=2))
    with pytest.raises(StoreRefused, match="another cluster"):
        await open_sql(url, replace(HERE, generation=2, cluster_uuid="other"))
    with pytest.raises(StoreRefused, match="of generation 2, the cluster of 1"):
        await open_sql(url)
    await open_sql(url, replace(HERE, generation=2))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
async def test_a_new_generation_ends_the_old_ones_activations(url: str, open_sql: OpenSql) -> None:
    old = await open_sql(url)
    await old.activate(OWNED, "agent")
    new = await open_sql(url, replace(HERE, generation=2))
    with pytest.raises(StaleEpoch):
        await old.activate(replace(OWNED, epoch=epoch(2)), "agent")
    assert (await new.activate(replace(OWNED, epoch=Epoch((2 << 40) + 1)), "agent")).epoch == (2 << 40) + 1


async def test_sqlite_is_for_one_machine_which_may_be_booted_anew(url: str, open_sql: OpenSql) -> None:
    await open_sql(url)
    await open_sql(url, replace(HERE, boot_id="later"))
    await open_sql(url, replace(HERE, boot_id="later", machine_id="renamed"))
    with pytest.raises(StoreRefused, match="another machine"):
        await open_sql(url, replace(HERE, boot_id="elsewhere"))


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
async def test_postgresql_is_for_several_machines(url: str, open_sql: OpenSql) -> None:
    for name in ("a", "b"):
        await open_sql(url, replace(HERE, boot_id=name, machine_id=name))


async def test_what_cannot_be_opened_says_so_without_a_password(tmp_path: Path, open_sql: OpenSql) -> None:
    (tmp_path / "file").write_text("no database, and too long to be taken for an empty one")
    with pytest.raises(StoreRefused, match="cannot be used"):
        await open_sql(f"sqlite:///{tmp_path / 'file'}", timeout_s=0.2)
    with pytest.raises(StoreRefused, match="cannot be made"):
        await open_sql(f"sqlite:///{tmp_path / 'file' / 'store.db'}")
    with pytest.raises(StoreRefused) as refused:
        await open_sql("postgresql://ada:secret@127.0.0.1:1/agentring", timeout_s=0.2)
    assert "secret" not in str(refused.value)
    assert "127.0.0.1:1/agentring" in str(refused.value)


@pytest.mark.parametrize("url", ["memory:", "sqlite:///store.db", "sqlite:////var/store.db", "postgresql://host/name"])
def test_urls_of_stores(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize("url", ["", "memory", "sqlite:", "sqlite:///", "postgresql://", "mysql://host/name"])
def test_urls_of_no_store(url: str) -> None:
    with pytest.raises(ValueError, match="is neither"):
        check_url(url)


async def test_a_server_that_is_not_there_yet_is_waited_for(postgres: PostgresProcess, clock: FakeClock) -> None:
    """Its database is made a moment later, and a server in its place does not speak yet."""
    url = postgres.database()
    missing = f"{url}_later"
    opening = asyncio.create_task(
        open_store(missing, HERE, timeout_s=TIMEOUT_S, max_history_turns=1, clock=clock, wait_s=60.0)
    )
    await clock.next_due_s()
    clock.advance(1.0)
    await clock.next_due_s()
    assert not opening.done()
    postgres.ask(f"CREATE DATABASE {missing.rpartition('/')[2]}", "postgres")
    clock.advance(1.0)
    store = await opening
    assert store is not None
    await store.close()


async def test_a_file_that_others_have_locked_is_waited_for_and_not_for_ever(
    tmp_path: Path, open_sql: OpenSql, clock: FakeClock
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    await open_sql(url)

    async def opened() -> SqlStore | None:
        return await open_store(url, HERE, timeout_s=0.2, max_history_turns=1, clock=clock, wait_s=2.0)

    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        opening = asyncio.create_task(opened())
        await clock.next_due_s()
        other.execute("ROLLBACK")
        clock.advance(1.0)
        store = await opening
        assert store is not None
        await store.close()
        other.execute("BEGIN EXCLUSIVE")
        opening = asyncio.create_task(opened())
        await clock.next_due_s()
        clock.advance(2.0)
        with pytest.raises(StoreRefused, match="cannot be used"):
            await opening


async def test_who_is_not_let_in_does_not_wait(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").write_text("no database, and too long to be taken for an empty one" * 100)
    url = f"sqlite:///{tmp_path / 'file'}"
    with pytest.raises(StoreRefused, match="cannot be used"):
        await open_store(url, HERE, timeout_s=1.0, max_history_turns=1, clock=clock, wait_s=60.0)
