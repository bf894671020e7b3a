"""No step of an epoch lands after a write of a later one, none after the end of its run, and none lands twice."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection

from agent_node.store import MemoryStore, MemoryTaskStore
from agent_node.store.sql import step_at_once, step_transactions
from agent_node.store.sql.sessions import SqlStore
from agent_node.store.step_records import BlobChunk, RunOwnership
from agentring.errors import StaleEpoch
from harness.stored_steps import OwnedRun, OwnedTask, OwnedTurn, all_rows, row
from harness.stored_turns import epoch

OpenSql = Callable[..., Awaitable[SqlStore]]
BLOB = BlobChunk(b"d" * 32, 0, b"piece")


@pytest.fixture(params=["turn", "task"])
async def run(request: pytest.FixtureRequest, url: str, open_sql: OpenSql) -> OwnedRun:
    """Of a turn or a task, in an empty store."""
    if url == "memory:":
        return OwnedTurn(MemoryStore(max_history_turns=3)) if request.param == "turn" else OwnedTask(MemoryTaskStore())
    store = await open_sql(url)
    return OwnedTurn(store) if request.param == "turn" else OwnedTask(store.tasks)


async def refused(run: OwnedRun, owned: RunOwnership) -> None:
    """Whatever this one writes of steps is refused."""
    with pytest.raises(StaleEpoch):
        await run.steps.keep(owned, [row(9)])
    with pytest.raises(StaleEpoch):
        await run.steps.keep(owned, [row(9), row(10)])
    with pytest.raises(StaleEpoch):
        await run.steps.keep_chunk(owned, BLOB)


async def test_what_an_earlier_or_later_owner_writes_is_refused_and_changes_nothing(run: OwnedRun) -> None:
    first = await run.take(3)
    await run.steps.keep(first, [row(1)])
    second = await run.take(5, "n2/1")
    for stranger in (first, replace(second, epoch=epoch(4)), replace(second, epoch=epoch(6))):
        await refused(run, stranger)
    assert await all_rows(run, second) == [row(1)]
    assert await run.steps.read_chunk(second.life, BLOB.digest, 0) is None
    await run.steps.keep(second, [row(2)])


async def test_no_step_lands_after_the_end_of_its_run(run: OwnedRun) -> None:
    owned = await run.take(1)
    await run.steps.keep(owned, [row(1)])
    await run.end(owned)
    await refused(run, owned)
    assert await all_rows(run, owned) == []
    assert await run.steps.read_chunk(owned.life, BLOB.digest, 0) is None


async def test_another_owner_of_the_same_epoch_is_refused_in_sessions(url: str, open_sql: OpenSql) -> None:
    turn = OwnedTurn(MemoryStore(max_history_turns=3) if url == "memory:" else await open_sql(url))
    owned = await turn.take(3)
    await refused(turn, replace(owned, owner="n2/1"))
    await refused(turn, replace(owned, turn_id="t2"))
    assert await all_rows(turn, owned) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_write_that_landed_and_is_tried_again_changes_nothing(run: OwnedRun, open_sql: OpenSql) -> None:
    owned = await run.take(1)
    store: Any = run.steps
    again: Any = {"run": owned, "commit_id": "c1", "rows": [row(1)]}

    def keep(connection: Connection) -> int:
        return step_transactions.keep(connection, **again)

    first = await store._driver.transact(keep, retry=False)
    second = await store._driver.transact(keep, retry=False)
    assert second == first + isinstance(run, OwnedTask)  # a task's commits only count
    assert await all_rows(run, owned) == [row(1)]
    with pytest.raises(StaleEpoch):
        await run.steps.keep(replace(owned, epoch=epoch(9)), [row(2)])


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_one_row_of_a_turn_is_one_statement_which_is_refused_as_a_whole(url: str, open_sql: OpenSql) -> None:
    store = await open_sql(url)
    turn = OwnedTurn(store)
    owned = await turn.take(3)

    def at_once(run: RunOwnership) -> Callable[[Connection], int | None]:
        return lambda connection: step_at_once.keep(connection, run, "c1", [row(1)])

    assert await store.driver.transact(at_once(replace(owned, epoch=epoch(2))), retry=False) is None
    assert await all_rows(turn, owned) == []
    assert await store.driver.transact(at_once(owned), retry=False)
    assert await store.driver.transact(at_once(owned), retry=False) is None  # it has landed: the transaction finds out
    assert await all_rows(turn, owned) == [row(1)]
