"""What every store promises of steps: rows are found in the order of their commits, until the end of their run."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256

import pytest

from agent_node.step.decided_end import decided, decided_reason
from agent_node.store import MemoryStore, MemoryTaskStore, Ownership, Store
from agent_node.store.clock import VolatileClock
from agent_node.store.sql.sessions import SqlStore
from agent_node.store.step_records import PAGE_ROWS, BlobChunk, Life, StepState
from agentring.ids import TenantId
from agentring.v1.session_pb2 import TURN_STATE_RUNNING
from harness.clock import FakeClock
from harness.stored_steps import LIFE, SESSION, OwnedRun, OwnedTask, OwnedTurn, all_rows, row
from harness.stored_turns import accepted, epoch

PassTime = Callable[[float], Awaitable[None]]
OpenSql = Callable[..., Awaitable[SqlStore]]


@pytest.fixture(params=["turn", "task"])
async def run(request: pytest.FixtureRequest, url: str, open_sql: OpenSql, clock: FakeClock) -> OwnedRun:
    """Of a turn or a task, in an empty store."""
    if url == "memory:":
        now = VolatileClock(clock)
        is_turn = request.param == "turn"
        return OwnedTurn(MemoryStore(max_history_turns=3, clock=now)) if is_turn else OwnedTask(MemoryTaskStore(now))
    store = await open_sql(url)
    return OwnedTurn(store) if request.param == "turn" else OwnedTask(store.tasks)


async def test_rows_are_read_in_the_order_of_their_ordinals_a_page_at_a_time(run: OwnedRun) -> None:
    owned = await run.take(1)
    rows = [row(ordinal) for ordinal in range(1, PAGE_ROWS + 4)]
    await run.steps.keep(owned, rows[:5])
    await run.steps.keep(owned, rows[5:])
    first = await run.steps.read(owned.life, 0)
    assert list(first) == rows[:PAGE_ROWS]
    assert list(await run.steps.read(owned.life, first[-1].ordinal)) == rows[PAGE_ROWS:]
    assert list(await run.steps.read(owned.life, rows[-1].ordinal)) == []


async def test_a_row_comes_back_as_it_was_written(run: OwnedRun) -> None:
    owned = await run.take(1)
    whole = replace(row(1), outer_ids=b"o" * 16, name="a\0b \U0001f600", pure=True, blob=b"h" * 32, size_bytes=5_000)
    states = [replace(row(2 + place), state=state) for place, state in enumerate(StepState)]
    await run.steps.keep(owned, [whole, *states])
    assert await all_rows(run, owned) == [whole, *states]


async def test_the_next_attempt_finds_the_rows_of_the_one_before(run: OwnedRun) -> None:
    await run.steps.keep(await run.take(1), [row(1)])
    second = await run.take(2, "n2/1")
    await run.steps.keep(second, [row(2, attempt=2)])
    assert await all_rows(run, await run.take(3, "n3/1")) == [row(1), row(2, attempt=2)]


async def test_a_blob_is_read_in_the_pieces_in_which_it_was_written(run: OwnedRun) -> None:
    owned = await run.take(1)
    pieces = [os.urandom(1_000), os.urandom(10)]
    digest = sha256(b"".join(pieces)).digest()
    for number, data in enumerate(pieces):
        await run.steps.keep_chunk(owned, BlobChunk(digest, number, data))
    await run.steps.keep_chunk(owned, BlobChunk(digest, 0, pieces[0]))  # as an attempt that runs the step again
    found = [await run.steps.read_chunk(owned.life, digest, number) for number in range(3)]
    assert found == [*pieces, None]
    assert await run.steps.read_chunk(owned.life, b"another", 0) is None


async def test_the_last_gain_is_the_attempt_of_the_last_outcome(run: OwnedRun) -> None:
    owned = await run.take(1)
    assert await run.steps.last_gain(owned.life) == 0
    await run.steps.keep(owned, [row(1, StepState.STARTED)])
    assert await run.steps.last_gain(owned.life) == 0
    await run.steps.keep(owned, [row(2), row(3, attempt=4), row(4, StepState.STARTED, attempt=5)])
    assert await run.steps.last_gain(owned.life) == 4


async def test_rows_and_blobs_go_with_the_end_of_their_run_and_no_other_run_s_do(run: OwnedRun) -> None:
    owned = await run.take(1)
    await run.steps.keep(owned, [row(1)])
    await run.steps.keep_chunk(owned, BlobChunk(b"d" * 32, 0, b"piece"))
    neighbour = replace(owned, life_id="life-2")
    await run.steps.keep(neighbour, [row(1)])
    await run.end(owned)
    assert await all_rows(run, owned) == []
    assert await run.steps.read_chunk(owned.life, b"d" * 32, 0) is None
    assert await all_rows(run, neighbour) == [row(1)]


async def test_a_life_is_its_tenant_s_alone(run: OwnedRun) -> None:
    owned = await run.take(1)
    await run.steps.keep(owned, [row(1)])
    assert list(await run.steps.read(Life(TenantId("other"), LIFE), 0)) == []


async def test_each_write_of_steps_has_the_next_commit_number(run: OwnedRun) -> None:
    owned = await run.take(1)
    first = await run.steps.keep(owned, [row(1)])
    assert await run.steps.keep_chunk(owned, BlobChunk(b"d" * 32, 0, b"piece")) == first + 1
    assert await run.steps.keep(owned, [row(2)]) == first + 2
    assert await run.end(owned) == first + 3


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_the_steps_of_a_session_that_was_closed_unread_go_with_it(store: Store, pass_time: PassTime) -> None:
    turn = OwnedTurn(store)
    owned = await turn.take(1)
    await store.steps.keep(owned, [row(1)])
    await store.close_unread(Ownership(SESSION, epoch(2), "n2/1"))
    assert await all_rows(turn, owned) == [row(1)]
    await pass_time(60.0)
    assert await store.expire_closed(1.0) == 1
    assert await all_rows(turn, owned) == []


async def test_a_turn_has_a_life_of_its_own_which_its_next_owner_reads(store: Store) -> None:
    await store.activate(Ownership(SESSION, epoch(1), "n1/1"), "agent")
    turn = replace(accepted(1), state=TURN_STATE_RUNNING)
    await store.accept_turn(Ownership(SESSION, epoch(1), "n1/1"), turn, None)
    found = await store.activate(Ownership(SESSION, epoch(2), "n2/1"), "agent")
    assert found.turns["t1"].life_id == LIFE


async def test_the_row_of_a_decided_end_stands_before_the_steps_and_the_first_one_stays(run: OwnedRun) -> None:
    owned = await run.take(1)
    await run.steps.keep(owned, [row(1), row(2)])
    for reason in ("CLIENT", "INTERRUPTED"):
        await run.steps.keep(owned, [decided(reason, 1)])
    assert list(await run.steps.read(owned.life, 0)) == [row(1), row(2)]
    assert list(await run.steps.read(owned.life, -1)) == [decided("CLIENT", 1), row(1), row(2)]
    assert await decided_reason(run.steps, owned.life) == "CLIENT"
