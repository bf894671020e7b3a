"""What every store promises of what runs have stored by key: it is written with their steps, under the same compares,
and is there as long as its session, or its task's run."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, update

from agent_node.store import MemoryStore, MemoryTaskStore, Ownership, Store
from agent_node.store.clock import VolatileClock
from agent_node.store.sql import step_transactions
from agent_node.store.sql.session_schema import sessions
from agent_node.store.sql.sessions import SqlStore
from agent_node.store.sql.task_schema import tasks
from agent_node.store.step_records import RunOwnership
from agent_node.store.storage_counts import STORAGE
from agent_node.store.storage_records import PAGE_KEYS, StorageScope, StorageWrite
from agentring.errors import StaleEpoch
from agentring.ids import TenantId
from harness.clock import FakeClock
from harness.stored_steps import SESSION, OwnedRun, OwnedTask, OwnedTurn, all_rows, row
from harness.stored_turns import epoch

OpenSql = Callable[..., Awaitable[SqlStore]]
PassTime = Callable[[float], Awaitable[None]]


@pytest.fixture(params=["turn", "task"])
async def run(request: pytest.FixtureRequest, url: str, open_sql: OpenSql, clock: FakeClock) -> OwnedRun:
    """Of a turn or a task, in an empty store."""
    if url == "memory:":
        now = VolatileClock(clock)
        is_turn = request.param == "turn"
        return OwnedTurn(MemoryStore(max_history_turns=3, clock=now)) if is_turn else OwnedTask(MemoryTaskStore(now))
    store = await open_sql(url)
    return OwnedTurn(store) if request.param == "turn" else OwnedTask(store.tasks)


def put(key: str, value: bytes | None) -> StorageWrite:
    return StorageWrite(key.encode(), value)


def scope_of(owned: RunOwnership) -> StorageScope:
    assert owned.storage is not None
    return owned.storage


async def read(run: OwnedRun, owned: RunOwnership, key: str) -> bytes | None:
    value = await run.store.storage.read(scope_of(owned), key.encode())
    assert value is None or value.is_intact
    return value.data if value is not None else None


async def keys(run: OwnedRun, owned: RunOwnership, after: str = "") -> list[tuple[str, int]]:
    found = await run.store.storage.keys(scope_of(owned), after.encode())
    return [(entry.key.decode(), entry.size_bytes) for entry in found]


async def test_what_was_written_is_read_over_what_was_there_until_it_is_removed(run: OwnedRun) -> None:
    owned = await run.take(1)
    await run.steps.keep(owned, [row(1)], [put("a", b"1"), put("b", b""), put("a\0\U0001f600", bytes(range(256)))])
    await run.steps.keep(owned, [], [put("a", b"22"), put("b", None), put("none", None)])
    assert await keys(run, owned) == [("a", 2), ("a\0\U0001f600", 256)]
    assert await read(run, owned, "a") == b"22"
    assert await read(run, owned, "a\0\U0001f600") == bytes(range(256))
    assert await read(run, owned, "b") is None
    assert await all_rows(run, owned) == [row(1)]


async def test_keys_come_in_the_order_of_their_bytes_a_page_at_a_time(run: OwnedRun) -> None:
    owned = await run.take(1)
    names = sorted(
        [f"k{number}" for number in range(PAGE_KEYS)] + ["Z", "é", "z", "\U0001f600", "\ufffd"], key=str.encode
    )
    await run.steps.keep(owned, [], [put(name, b"v") for name in reversed(names)])
    first = [key for key, _ in await keys(run, owned)]
    assert first == names[:PAGE_KEYS]
    assert [key for key, _ in await keys(run, owned, first[-1])] == names[PAGE_KEYS:]


async def test_the_next_owner_finds_it_and_the_one_before_writes_nothing_any_more(run: OwnedRun) -> None:
    first = await run.take(1)
    await run.steps.keep(first, [], [put("a", b"1")])
    second = await run.take(3, "n2/1")
    for stranger in (first, replace(second, epoch=epoch(2)), replace(second, epoch=epoch(4))):
        with pytest.raises(StaleEpoch):
            await run.steps.keep(stranger, [row(1)], [put("a", b"stale"), put("b", b"stale")])
    assert await all_rows(run, second) == []
    assert await keys(run, second) == [("a", 1)]
    assert await read(run, second, "a") == b"1"


async def test_nothing_is_written_after_the_end_of_the_run(run: OwnedRun) -> None:
    owned = await run.take(1)
    await run.end(owned)
    with pytest.raises(StaleEpoch):
        await run.steps.keep(owned, [], [put("a", b"late")])
    assert await keys(run, owned) == []


async def test_a_session_s_outlives_its_turn_and_a_task_s_goes_with_its_end(run: OwnedRun) -> None:
    owned = await run.take(1)
    await run.steps.keep(owned, [row(1)], [put("a", b"1")])
    await run.end(owned)
    assert await keys(run, owned) == ([("a", 1)] if isinstance(run, OwnedTurn) else [])


async def test_a_scope_is_its_tenant_s_and_its_life_s_alone(run: OwnedRun) -> None:
    owned = await run.take(1)
    await run.steps.keep(owned, [], [put("a", b"1")])
    for other in (replace(scope_of(owned), tenant=TenantId("other")), replace(scope_of(owned), name="another")):
        assert list(await run.store.storage.keys(other, b"")) == []
        assert await run.store.storage.read(other, b"a") is None


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_landed_and_is_tried_again_changes_nothing(run: OwnedRun) -> None:
    owned = await run.take(1)
    store: Any = run.steps

    def keep(connection: Connection) -> int:
        return step_transactions.keep(connection, owned, "c1", [row(1)], [put("a", b"1"), put("b", None)])

    for _ in range(2):
        await store._driver.transact(keep, retry=False)
    assert await keys(run, owned) == [("a", 1)]
    assert await all_rows(run, owned) == [row(1)]


async def test_what_was_changed_in_the_store_is_told(url: str, open_sql: OpenSql) -> None:
    turn = OwnedTurn(MemoryStore(max_history_turns=3) if url == "memory:" else await open_sql(url))
    owned = await turn.take(1)
    await turn.steps.keep(owned, [], [put("a", b"value")])
    found = await turn.store.storage.read(scope_of(owned), b"a")
    assert found is not None
    assert found.is_intact
    assert not replace(found, data=b"valve").is_intact


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_session_s_goes_with_its_tombstone(store: Store, pass_time: PassTime) -> None:
    turn = OwnedTurn(store)
    owned = await turn.take(1)
    await store.steps.keep(owned, [], [put("a", b"1")])
    await turn.end(owned)
    await store.close_session(Ownership(SESSION, owned.epoch, owned.owner), 15)
    assert await keys(turn, owned) == [("a", 1)]
    await pass_time(60.0)
    assert await store.expire_closed(1.0) == 1
    assert await keys(turn, owned) == []


@pytest.mark.parametrize("kind", ["memory"])
async def test_a_session_s_goes_with_its_volatile_node(store: Store) -> None:
    turn = OwnedTurn(store)
    owned = await turn.take(1)
    await store.steps.keep(owned, [], [put("a", b"1")])
    await store.release(Ownership(SESSION, owned.epoch, owned.owner), None, 0)
    assert await keys(turn, owned) == []


async def test_what_was_written_is_counted(run: OwnedRun) -> None:
    owned = await run.take(1)
    before = (STORAGE.written_bytes, STORAGE.puts, STORAGE.deletes)
    await run.steps.keep(owned, [], [put("a", b"123"), put("b", b"4"), put("c", None)])
    after = (STORAGE.written_bytes, STORAGE.puts, STORAGE.deletes)
    assert [now - then for now, then in zip(after, before, strict=True)] == [4, 2, 1]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_a_node_of_an_older_release_leaves_is_removed(run: OwnedRun) -> None:
    """It buries the session, or ends the task, and knows nothing of what is stored by key."""
    owned = await run.take(1)
    await run.steps.keep(owned, [], [put("a", b"1"), put("b", b"2")])
    assert await run.store.storage.remove_leftovers() == 0
    assert await keys(run, owned) == [("a", 1), ("b", 1)]
    store: Any = run.steps

    def leave(connection: Connection) -> None:
        table = sessions if isinstance(run, OwnedTurn) else tasks
        connection.execute(update(table).values(tenant="of another one"))

    await store._driver.transact(leave, retry=False)
    assert await run.store.storage.remove_leftovers() == 1
    assert await keys(run, owned) == []
