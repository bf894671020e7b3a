"""What the checker reads of a store is the same on SQLite and on PostgreSQL."""

from pathlib import Path

import pytest

from agent_node.store import Ownership
from agent_node.store.opening import open_store
from agent_node.store.task_records import TaskEnd, TaskRequest
from agentring.ids import TaskKey, TaskRef, TenantId, parse_session
from agentring.v1.session_pb2 import Event
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED
from harness.postgres import PostgresProcess
from harness.stored_turns import HERE, accepted, completed, epoch
from robustness.chaos.validate import stored
from robustness.chaos.validate.evidence import Evidence, StoredRow

SESSION = parse_session("", "s")
DONE, OPEN = (TaskRef(TenantId("default"), TaskKey(key)) for key in ("done", "open"))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    postgres: PostgresProcess = request.getfixturevalue("postgres")
    return postgres.database()


async def test_turns_and_tasks_are_read(url: str) -> None:
    store = await open_store(url, HERE, timeout_s=5.0, max_history_turns=1)
    assert store is not None
    owned = Ownership(SESSION, epoch(2), "n1/1")
    await store.activate(owned, "agent")
    await store.accept_turn(owned, accepted(1), 0)
    await store.commit_turn(owned, completed(accepted(1)))
    for ref in (DONE, OPEN):
        await store.tasks.accept(TaskRequest(ref, "agent", b"f" * 32, b"", 60.0, False, "r"))
        await store.tasks.start(ref, epoch(3), "n1/1")
    assert await stored.open_tasks(url) == {"task/default/done", "task/default/open"}
    outcome = Event(epoch=3)
    outcome.turn_completed.result["run"] = "r1"
    await store.tasks.end(DONE, epoch(3), TaskEnd(TASK_STATE_COMPLETED, outcome.SerializeToString(), b"", None))
    await store.close()
    assert await stored.open_tasks(url) == {"task/default/open"}
    evidence = Evidence([], [], [])
    await stored.read_into(evidence, url)
    assert evidence.completed == [StoredRow("session/default/s", 1, epoch(2))]
    assert evidence.counted == {"session/default/s": 1}
    (end,) = evidence.ended_tasks
    assert (end.subject, end.epoch, end.result) == ("task/default/done", epoch(3), "r1")
