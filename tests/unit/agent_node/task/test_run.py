"""One run of a task key: its state, its events, its result."""

import asyncio

import pytest
from google.protobuf import struct_pb2

from agent_node.events.log import EventLog
from agent_node.run.outcome import Completed, Failed
from agent_node.store import TASK_ENDED
from agent_node.task.run import TaskRun
from agentring.errors import NodeDraining, NodeFenced
from agentring.ids import Epoch, NodeId, parse_task
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event
from agentring.v1.task_pb2 import (
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
)

REF = parse_task("", "key")
NODE = NodeId("n1")
CANCELLED = session_pb2.TurnCancelled(reason="CLIENT")


async def waiting() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def run() -> TaskRun:
    epoch = Epoch(7)
    return TaskRun(REF, "agent", session_pb2.Input(text="do"), b"", 60, epoch, EventLog(epoch, 64 << 10), NODE)


async def test_a_fresh_run_waits(run: TaskRun) -> None:
    task = run.to_task()
    assert (task.task_key, task.agent, task.state, task.node_id) == ("key", "agent", TASK_STATE_PENDING, "n1")
    assert (task.epoch, task.attempt, task.text, task.watchers) == (7, 1, "", 0)
    assert task.HasField("create_time")
    assert not task.HasField("end_time")
    assert (run.has_ended, run.ended.is_set()) == (False, False)


async def test_its_words_so_far_are_what_the_log_holds(run: TaskRun) -> None:
    run.state = TASK_STATE_RUNNING
    offset = 0
    for i in range(100):
        offset += run.log.append_text("", 1, offset, f"wörter {i} ")
    assert run.to_task().text == "".join(f"wörter {i} " for i in range(100))
    for _ in range(80):
        offset += run.log.append_text("", 1, offset, "x" * 1_000)
    text = run.to_task().text
    assert text.endswith("x" * 1_000)
    assert len(text) <= 64 << 10


async def test_a_completed_run_shows_its_text_and_result(run: TaskRun) -> None:
    result = struct_pb2.Struct()
    result["n"] = 1
    run.end(TASK_STATE_COMPLETED, Event(turn_completed=session_pb2.TurnCompleted()), Completed("all", 3, "{}", result))
    task = run.to_task()
    assert (task.state, task.text, dict(task.result)) == (TASK_STATE_COMPLETED, "all", {"n": 1})
    assert task.end_time.ToNanoseconds() >= task.create_time.ToNanoseconds()
    assert (run.has_ended, run.end_seq, run.log.head_seq) == (True, 1, 1)
    assert run.state in TASK_ENDED


async def test_a_failed_run_shows_its_reason_and_a_cancelled_one_its_words(run: TaskRun) -> None:
    failed = Failed("AGENT_ERROR", "id")
    run.end(TASK_STATE_FAILED, Event(turn_failed=failed.to_event()), failed)
    task = run.to_task()
    assert (task.failure.reason, task.failure.error_id, task.HasField("result")) == ("AGENT_ERROR", "id", False)


async def test_a_cancelled_run_shows_its_words(run: TaskRun) -> None:
    run.log.append_text("", 1, 0, "so far")
    run.end(TASK_STATE_CANCELLED, Event(turn_cancelled=CANCELLED), None)
    task = run.to_task()
    assert (task.state, task.text, task.HasField("failure")) == (TASK_STATE_CANCELLED, "so far", False)


async def test_watchers_are_counted(run: TaskRun) -> None:
    reader = asyncio.Event()
    run.log.subscribe(reader)
    assert run.to_task().watchers == 1
    run.log.unsubscribe(reader)
    assert run.to_task().watchers == 0


async def test_the_first_reason_to_cancel_stays_and_an_ended_run_is_not_cancelled(run: TaskRun) -> None:
    run.task = asyncio.ensure_future(waiting())
    run.cancel("CLIENT")
    run.cancel("NODE_DRAINING")
    assert run.cancel_reason == "CLIENT"
    await asyncio.wait([run.task])
    assert run.task.cancelled()


async def test_a_cancel_after_the_end_changes_nothing(run: TaskRun) -> None:
    run.task = asyncio.ensure_future(asyncio.sleep(0))
    run.end(TASK_STATE_CANCELLED, Event(turn_cancelled=CANCELLED), None)
    run.cancel("CLIENT")
    await run.task
    assert run.cancel_reason is None


async def test_a_dropped_run_ends_its_streams_and_its_task_but_has_no_end(run: TaskRun) -> None:
    run.task = asyncio.ensure_future(waiting())
    run.drop(NodeFenced())
    run.drop(NodeDraining())
    await asyncio.wait([run.task])
    assert run.task.cancelled()
    assert isinstance(run.log.end_error, NodeFenced)
    assert (run.ended.is_set(), run.has_ended) == (True, False)
