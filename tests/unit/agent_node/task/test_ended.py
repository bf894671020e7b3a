"""Ended tasks in memory: no more of them than fit, whatever their inputs and their texts."""

import pytest

from agent_node.events.log import EventLog
from agent_node.run.outcome import Completed
from agent_node.task.ended import EndedTaskCache
from agent_node.task.run import TaskRun
from agentring.ids import Epoch, NodeId, TaskRef, parse_task
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED

_BIG = 1 << 20


def ended(key: str, task_input: str = "", text: str = "") -> TaskRun:
    run = TaskRun(
        parse_task("", key),
        "agent",
        session_pb2.Input(text=task_input),
        b"",
        60,
        Epoch(7),
        EventLog(Epoch(7), 64 << 10),
        NodeId("n1"),
    )
    outcome = Completed(text, len(text), "{}", None)
    run.end(TASK_STATE_COMPLETED, Event(turn_completed=outcome.to_event()), outcome)
    run.forget_at_s = 60.0
    return run


def held_bytes(run: TaskRun) -> int:
    text = run.outcome.text if isinstance(run.outcome, Completed) else ""
    return run.input.ByteSize() + len(text) + run.log.size_bytes


@pytest.mark.parametrize("what", ["task_input", "text"])
def test_they_take_no_more_memory_than_they_may(what: str) -> None:
    cache = EndedTaskCache(max_bytes=4 * _BIG)
    runs = [ended(f"key-{i}", **{what: "x" * _BIG}) for i in range(20)]
    for run in runs:
        cache.put(run)
    kept = [run for run in runs if cache.get(run.ref, 0.0) is run]
    assert sum(map(held_bytes, kept)) <= 4 * _BIG
    assert kept[-1] is runs[-1]


def test_the_ones_asked_for_last_stay_until_their_retention_is_over() -> None:
    cache = EndedTaskCache(max_bytes=12 << 10)

    def is_kept(ref: TaskRef, now_s: float = 0.0) -> bool:
        return cache.get(ref, now_s) is not None

    first = ended("first")
    cache.put(first)
    for i in range(20):
        cache.put(ended(f"key-{i}"))
        assert is_kept(first.ref)
    assert len(cache) < 10
    assert not is_kept(parse_task("", "key-0"))
    assert not is_kept(first.ref, now_s=60.0)
