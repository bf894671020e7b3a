"""Tables are brought from every earlier version to this one, and what they hold outlives it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from xxhash import xxh3_64_hexdigest

import agent_node.store.database
from agent_node.store import Ownership
from agent_node.store.database.migration import HEAD, bring_to_head
from agent_node.store.opening import StoreRefused
from agent_node.store.sql.session_schema import cluster, metadata
from agent_node.store.sql.sessions import SqlStore
from agentring.agent import PastTurn
from agentring.ids import parse_session, parse_task
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED
from harness.stored_turns import HERE, accepted, completed, epoch

OpenSql = Callable[..., Awaitable[SqlStore]]

MIGRATIONS = Path(agent_node.store.database.__file__).parent / "migrations"
VERSIONS = [each.revision for each in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][::-1]
RELEASED = "0011"
"""The tables of the release before, whose nodes may run beside a later one for as long as a deploy takes."""
OWNED = Ownership(parse_session("", "s"), epoch(1), "n1/1")
BOTH = pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


async def change(url: str, work: Callable[[sa.Connection], object]) -> None:
    """Carries out a transaction in a database, as an operator might."""

    def transact() -> None:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            work(connection)
        engine.dispose()

    if url.startswith("sqlite"):
        await asyncio.to_thread(transact)
        return
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.run_sync(work)
    await engine.dispose()


def make(version: str, *, written: bool = True) -> Callable[[sa.Connection], None]:
    """Makes the tables of a version, with rows of those that it has. written: whether they say which version it is."""

    def work(connection: sa.Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, version)
        if not written:
            connection.execute(sa.text("DROP TABLE alembic_version"))
        known = sa.MetaData()
        known.reflect(connection)
        connection.execute(
            known.tables["cluster"].insert(),
            {
                "one": 1,
                "generation": HERE.generation,
                "cluster_uuid": HERE.cluster_uuid,
                "machine_id": HERE.machine_id,
                "boot_id": HERE.boot_id,
            }
            | ({"schema_version": 1} if "schema_version" in known.tables["cluster"].c else {}),
        )
        ref = {"tenant": "default", "session_id": "s"}
        turn, end = accepted(1), completed(accepted(1)).turn
        connection.execute(
            known.tables["sessions"].insert(),
            ref
            | {
                "agent": "agent",
                "epoch": epoch(1),
                "owner": "",
                "was_released": 1,
                "commit_id": "",
                "commit_number": 5,
                "reserved_seq": 1 << 20,
                "head_seq": 15,
                "turns_completed": 1,
                "created_ns": 1,
                "changed_ns": 2,
            },
        )
        state = {"state_json": '{"name": "Zo\u00eb"}'}
        if "checksum" in known.tables["states"].c:
            state["checksum"] = xxh3_64_hexdigest(state["state_json"].encode())
        connection.execute(known.tables["states"].insert(), ref | state)
        connection.execute(
            known.tables["turns"].insert(),
            ref
            | {
                "turn_id": turn.turn_id,
                "number": 1,
                "fingerprint": turn.fingerprint,
                "input": turn.input,
                "state": end.state,
                "attempt": 1,
                "epoch": epoch(1),
                "accepted_seq": turn.accepted_seq,
                "end_seq": end.end_seq,
                "outcome": end.outcome,
                "output_text": "out 1",
            },
        )

    return work


async def assert_as_today(url: str) -> None:
    """Its tables are those that the code says they are."""

    def compare(connection: sa.Connection) -> None:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == HEAD
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []

    await change(url, compare)


def test_the_last_version_is_the_codes() -> None:
    assert VERSIONS[-1] == HEAD


@BOTH
async def test_an_empty_database_gets_todays_tables(url: str, open_sql: OpenSql) -> None:
    await open_sql(url)
    await assert_as_today(url)


@BOTH
@pytest.mark.parametrize("version", [each for each in VERSIONS if each != HEAD])
async def test_what_an_earlier_version_holds_is_kept(url: str, open_sql: OpenSql, version: str) -> None:
    await change(url, make(version))
    store = await open_sql(url)
    await assert_as_today(url)
    session = await store.activate(Ownership(OWNED.ref, epoch(2), "n1/1"), "agent")
    assert (session.state_json, session.turns_completed) == ('{"name": "Zo\u00eb"}', 1)
    assert session.history == (PastTurn("in 1", "out 1"),)


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0004"])
async def test_tables_that_do_not_say_their_version_are_known_by_what_there_is(
    url: str, open_sql: OpenSql, version: str
) -> None:
    await change(url, make(version, written=False))
    store = await open_sql(url)
    await assert_as_today(url)
    assert (await store.activate(Ownership(OWNED.ref, epoch(2), "n1/1"), "agent")).turns_completed == 1


@BOTH
async def test_tables_of_a_later_version_are_refused_and_left_as_they_are(url: str, open_sql: OpenSql) -> None:
    await open_sql(url)
    await change(url, lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(StoreRefused, match=r"version 9999.*run the release that made them"):
        await open_sql(url)


@BOTH
async def test_an_earlier_versions_store_of_another_cluster_is_left_as_it_is(url: str, open_sql: OpenSql) -> None:
    await change(url, make("0002"))
    with pytest.raises(StoreRefused, match="another cluster"):
        await open_sql(url, replace(HERE, cluster_uuid="other"))

    def assert_as_before(connection: sa.Connection) -> None:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == "0002"

    await change(url, assert_as_before)


@BOTH
async def test_nodes_that_start_at_once_bring_the_tables_up_to_date_once(url: str, open_sql: OpenSql) -> None:
    await change(url, make("0001"))
    await asyncio.gather(*(open_sql(url) for _ in range(4)))
    await assert_as_today(url)


async def test_a_version_that_fails_leaves_nothing_behind(
    url: str, open_sql: OpenSql, monkeypatch: pytest.MonkeyPatch
) -> None:
    await change(url, make("0001"))

    def half(connection: sa.Connection) -> None:
        bring_to_head(connection)
        raise RuntimeError("the machine goes down")

    monkeypatch.setattr("agent_node.store.opening.bring_to_head", half)
    with pytest.raises(RuntimeError):
        await open_sql(url)

    def assert_as_before(connection: sa.Connection) -> None:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == "0001"
        assert "events" not in sa.inspect(connection).get_table_names()
        assert connection.execute(sa.select(sa.func.count()).select_from(cluster)).scalar() == 1

    await change(url, assert_as_before)


@BOTH
@pytest.mark.parametrize("by_s", [61 * 60, -61 * 60, 400 * 86_400])
async def test_what_has_ended_by_a_wall_clock_begins_its_retention_again(
    url: str, open_sql: OpenSql, pass_time: Callable[[float], Awaitable[None]], by_s: float
) -> None:
    """Its stamps are of a wall clock, and so is the beginning of the store's own: either may be wrong."""
    keep_ns, ended_ns = 60 * 10**9, time.time_ns() - int(by_s * 1e9)
    ended = {"created_ns": ended_ns, "ended_ns": ended_ns, "expires_ns": ended_ns + keep_ns}
    run = {"epoch": epoch(1), "owner": "n1/1", "attempt": 1, "state": TASK_STATE_COMPLETED} | ended

    def leave(connection: sa.Connection) -> None:
        make("0009")(connection)
        known = sa.MetaData()
        known.reflect(connection)
        task = {"tenant": "default", "task_key": "k", "agent": "agent", "fingerprint": b"f" * 32, "input": b""}
        more = {"retention_ns": keep_ns, "cancel_when_unwatched": 0, "request_id": "r", "commit_number": 3}
        outcome = {"may_begin_anew": 0, "outcome": b"", "story": b""}
        connection.execute(known.tables["tasks"].insert(), task | more | outcome | run)
        step = {"tenant": "default", "once_key": "k", "run_id": "r", "idempotent": 0, "session_id": "s"}
        result = {"turn_id": "t", "task_key": "", "result_json": "7", "error_type": "", "error_text": ""}
        connection.execute(known.tables["once"].insert(), step | result | run)

    await change(url, leave)
    store = await open_sql(url)
    await pass_time(59.0)
    assert await store.tasks.expire_ended() == await store.once.expire_ended() == 0
    assert await store.tasks.read(parse_task("", "k")) is not None
    await pass_time(30.0)
    assert await store.tasks.expire_ended() == await store.once.expire_ended() == 1


def test_nodes_of_the_release_before_go_on_with_the_tables_of_this_one(tmp_path: Path) -> None:
    """They name their own columns alone, in rows that they add."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 's.db'}")
    with engine.begin() as connection:
        make(RELEASED)(connection)
        before = {name: sa.inspect(connection).get_columns(name) for name in sa.inspect(connection).get_table_names()}
        bring_to_head(connection)
        now = {name: sa.inspect(connection).get_columns(name) for name in sa.inspect(connection).get_table_names()}
    engine.dispose()
    assert before.keys() < now.keys()
    for table, columns in before.items():
        known = {column["name"]: str(column["type"]) for column in columns}
        assert known.items() <= {column["name"]: str(column["type"]) for column in now[table]}.items()
        added = [column for column in now[table] if column["name"] not in known]
        assert all(column["nullable"] or column["default"] is not None for column in added), (table, added)
