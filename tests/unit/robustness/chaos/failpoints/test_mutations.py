"""A mutation takes its protection away: else the control that the checker goes red for it would be none."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_node.store import Ownership
from agent_node.store.database.postgres import PostgresDriver
from agent_node.store.database.sqlite import SqliteDriver
from agent_node.store.opening import ClusterIdentity, open_store
from agent_node.store.sql import session_statements, task_transactions
from agent_node.store.sql.sessions import SqlStore
from agent_node.store.sql.tasks import SqlTaskStore
from agent_node.store.task_records import TaskEnd, TaskRequest
from agent_node.task.runner import TaskRunner
from agentring.cluster.lease import Lease
from agentring.errors import StaleEpoch
from agentring.ids import TaskKey, TaskRef, TenantId, parse_session
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_PENDING
from harness.stored_turns import accepted, epoch
from robustness.chaos.failpoints.mutations import MUTATIONS

REF, TASK = parse_session("", "s"), TaskRef(TenantId("default"), TaskKey("k"))
OLD, NEW = Ownership(REF, epoch(1), "n1/1"), Ownership(REF, epoch(2), "n2/1")
STEPS: tuple[tuple[type, str], ...] = (
    *((SqlTaskStore, name) for name in ("accept", "start", "end")),
    (TaskRunner, "release"),
    (SqliteDriver, "_commit"),
    (PostgresDriver, "transact"),
)
END = TaskEnd(TASK_STATE_COMPLETED, b"", b"", None)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    here = ClusterIdentity(1, "cluster", "machine", "boot")
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}", here, timeout_s=5.0, max_history_turns=1)
    assert store is not None
    yield store
    await store.close()


async def test_without_the_compare_a_stale_turn_is_stored(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.activate(OLD, "agent")
    await store.activate(NEW, "agent")
    with pytest.raises(StaleEpoch):
        await store.accept_turn(OLD, accepted(1), 0)
    monkeypatch.setattr(session_statements, "ASSERT_OWNED", session_statements.ASSERT_OWNED)
    monkeypatch.setattr(Lease, "check", Lease.check)
    MUTATIONS["no-compare"](Path("no trigger"))
    assert (await store.accept_turn(OLD, accepted(1), 0)).known is None
    assert await store.read_turn(REF, "t1") is not None


async def test_without_the_compare_a_stale_end_is_stored(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await begun(store.tasks, "r1")
    await store.tasks.start(TASK, epoch(4), "n2/1")
    with pytest.raises(StaleEpoch):
        await store.tasks.end(TASK, epoch(3), END)
    monkeypatch.setattr(task_transactions, "_END", task_transactions._END)
    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    MUTATIONS["no-task-compare"](Path("no trigger"))
    await store.tasks.end(TASK, epoch(3), END)
    found = await store.tasks.read(TASK)
    assert found is not None
    assert found.state == TASK_STATE_COMPLETED


async def test_without_memory_of_ends_a_task_begins_anew(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await begun(store.tasks, "r1")
    await store.tasks.end(TASK, epoch(3), END)
    assert (await store.tasks.accept(request("r2"))).state == TASK_STATE_COMPLETED
    monkeypatch.setattr(task_transactions, "_BEGIN_ANEW", task_transactions._BEGIN_ANEW)
    MUTATIONS["no-memory-of-ends"](Path("no trigger"))
    assert (await store.tasks.accept(request("r3"))).state == TASK_STATE_PENDING


def request(name: str) -> TaskRequest:
    return TaskRequest(TASK, "agent", b"f" * 32, b"", 60.0, False, name)


async def begun(tasks: SqlTaskStore, name: str) -> None:
    await tasks.accept(request(name))
    assert await tasks.start(TASK, epoch(3), "n1/1") is not None
