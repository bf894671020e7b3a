"""What is kept for a while is kept for all of it, whatever any wall clock says, and is then forgotten."""

import time
from collections.abc import Awaitable, Callable

import pytest

from agent_node.store import Ownership, Store, TaskEnd, TaskRequest
from agent_node.store.once_records import Ending, OnceCaller, OnceOwnership, RunStart, StoredRun, begin
from agent_node.store.sql.sessions import SqlStore
from agentring.ids import parse_once, parse_session, parse_task
from agentring.v1 import session_pb2
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_RUNNING
from harness.clock import FakeClock
from harness.stored_turns import accepted, epoch

KEY, TASK, SESSION = parse_once("", "k"), parse_task("", "k"), parse_session("", "s")
DONE = Ending(TASK_STATE_COMPLETED, "7")
RETENTION_S = 60.0
JUMPS_S = [61 * 60, -61 * 60, 400 * 86_400, -400 * 86_400]
DURABLE = pytest.mark.parametrize("kind", ["sqlite", "postgresql"])

PassTime = Callable[[float], Awaitable[None]]
OpenSql = Callable[..., Awaitable[SqlStore]]


async def step(store: Store, revision: int, *, idempotent: bool = False) -> StoredRun:
    """The row once somebody asks for the step."""
    owner = OnceOwnership(KEY, epoch(revision), f"n/{revision}")
    start = RunStart(OnceCaller(SESSION, "t"), idempotent, f"r{revision}", 10.0)
    return await store.once.change(owner, begin(owner, start))


async def end(store: Store, revision: int, ending: Ending = DONE) -> None:
    await store.once.end(OnceOwnership(KEY, epoch(revision), f"n/{revision}"), ending, RETENTION_S)


async def run_task(store: SqlStore, revision: int) -> None:
    await store.tasks.accept(TaskRequest(TASK, "agent", b"f" * 32, b"", RETENTION_S, False, f"r{revision}"))
    assert await store.tasks.start(TASK, epoch(revision), "n/1")
    outcome = session_pb2.Event(seq=9, attempt=1).SerializeToString()
    await store.tasks.end(TASK, epoch(revision), TaskEnd(TASK_STATE_COMPLETED, outcome, b"", None))


def jump(monkeypatch: pytest.MonkeyPatch, by_s: float) -> None:
    """Every wall clock of this process jumps."""
    wall_s, wall_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: wall_s() + by_s)
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + int(by_s * 1e9))


@pytest.mark.parametrize("by_s", JUMPS_S)
async def test_a_step_that_must_not_run_twice_does_not_for_any_jump(
    store: Store, pass_time: PassTime, monkeypatch: pytest.MonkeyPatch, by_s: float
) -> None:
    await step(store, 1)
    await end(store, 1)
    jump(monkeypatch, by_s)
    await pass_time(RETENTION_S - 1)
    assert await store.once.expire_ended() == 0
    assert (await step(store, 2)).ending == DONE
    await pass_time(30.0)
    assert (await step(store, 3)).state == TASK_STATE_RUNNING


@DURABLE
@pytest.mark.parametrize("by_s", JUMPS_S)
async def test_an_ended_task_and_a_closed_sessions_id_rest_for_any_jump(
    url: str, open_sql: OpenSql, pass_time: PassTime, monkeypatch: pytest.MonkeyPatch, by_s: float
) -> None:
    store = await open_sql(url)
    await run_task(store, 1)
    owner = Ownership(SESSION, epoch(1), "n/1")
    await store.activate(owner, "agent")
    await store.accept_turn(owner, accepted(1), None)
    await store.close_session(owner, 10)
    jump(monkeypatch, by_s)
    other = await open_sql(url)  # by a node whose clock is off from its start
    await pass_time(RETENTION_S - 1)
    for each in (store, other):
        assert await each.tasks.expire_ended() == 0
        assert await each.tasks.read(TASK) is not None
        assert (await each.tasks.accept(TaskRequest(TASK, "agent", b"f" * 32, b"", 60.0, False, "r2"))).has_ended
        assert await each.expire_closed(RETENTION_S) == 0
    await pass_time(30.0)
    assert await other.tasks.read(TASK) is None
    assert await other.tasks.expire_ended() == 1
    assert await store.expire_closed(RETENTION_S) == 1


async def test_a_failure_that_may_be_run_again_stands_as_long_as_it_should(
    store: Store, pass_time: PassTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await step(store, 1, idempotent=True)
    await end(store, 1, Ending(TASK_STATE_FAILED, error_type="LookupError"))
    jump(monkeypatch, -61 * 60)
    await pass_time(8.0)
    assert (await step(store, 2, idempotent=True)).state == TASK_STATE_FAILED
    await pass_time(8.0)
    assert (await step(store, 3, idempotent=True)).state == TASK_STATE_RUNNING


@DURABLE
async def test_no_retention_runs_out_while_nobody_counts(url: str, open_sql: OpenSql, clock: FakeClock) -> None:
    """All nodes are down, or the machine sleeps: how long that was, no clock can be trusted to know."""
    store = await open_sql(url)
    await step(store, 1)
    await end(store, 1)
    clock.advance(86_400.0)
    await store.clock.tick()
    assert (await step(store, 2)).ending == DONE
    clock.advance(86_400.0)
    later = await open_sql(url)
    await later.clock.tick()
    assert (await step(later, 3)).ending == DONE
