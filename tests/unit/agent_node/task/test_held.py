"""The keys that a node holds: how long, and how many."""

import asyncio
from pathlib import Path

import pytest

from agent_node.events.log import EventLog
from agent_node.run.outcome import Completed
from agent_node.task.held import HeldRuns
from agent_node.task.run import TaskRun
from agentring.errors import (
    CoordinatorUnavailable,
    NodeFenced,
    NodeOverloaded,
    TaskNotFound,
)
from agentring.ids import Epoch, NodeId, parse_task
from agentring.v1.session_pb2 import Event
from agentring.v1.task_pb2 import (
    DISPOSITION_STARTED,
    TASK_STATE_COMPLETED,
)
from harness.task_runs import INPUT, KEY, running


async def test_a_key_is_released_when_its_retention_is_over_and_not_before(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.stage.go.set()
        run, _ = await node.run()
        await run.ended.wait()
        node.clock.advance(4.9)
        await node.runs.forget_ended()
        assert (await node.runs.find(KEY), node.claims.released) == (run, [])
        node.clock.advance(0.1)
        await node.runs.forget_ended()
        assert node.claims.released == [run.claim]
        with pytest.raises(TaskNotFound):
            await node.runs.find(KEY)


async def test_a_full_node_forgets_what_ended_first_and_refuses_where_nothing_has(tmp_path: Path) -> None:
    async with running(tmp_path, max_tasks=2) as node:
        held, _ = await node.run("held")
        ended, _ = await node.run("ended", "failing")
        await ended.ended.wait()
        third, disposition = await node.run("third")
        assert disposition == DISPOSITION_STARTED
        assert node.claims.released == [ended.claim]
        with pytest.raises(NodeOverloaded):
            await node.run("fourth")
        assert not held.has_ended
        assert not third.has_ended


async def test_concurrent_starts_keep_to_the_limit(tmp_path: Path) -> None:
    async with running(tmp_path, max_tasks=3) as node:
        ended, _ = await node.run("ended", "failing")
        await ended.ended.wait()
        results = await asyncio.gather(*(node.run(f"k{i}") for i in range(10)), return_exceptions=True)
        assert sum(isinstance(result, tuple) for result in results) == 3
        assert [type(result) for result in results if not isinstance(result, tuple)] == [NodeOverloaded] * 7
        assert len(node.runs) == 3
        assert node.claims.released == [ended.claim]


async def test_a_claim_that_cannot_be_given_back_is_left_to_the_lease(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run(agent="failing")
        await run.ended.wait()
        node.claims.release_error = CoordinatorUnavailable()
        node.clock.advance(5)
        await node.runs.forget_ended()
        with pytest.raises(TaskNotFound):
            await node.runs.find(KEY)


def run_of(name: str, *, forget_at_s: float | None = None) -> TaskRun:
    epoch = Epoch(7)
    run = TaskRun(parse_task("", name), "agent", INPUT, b"", 60, epoch, EventLog(epoch, 1 << 16), NodeId("n1"))
    run.forget_at_s = forget_at_s
    return run


def ended(name: str, *, forget_at_s: float | None = None) -> TaskRun:
    run = run_of(name, forget_at_s=forget_at_s)
    outcome = Completed("", 0, "{}", None)
    run.end(TASK_STATE_COMPLETED, Event(turn_completed=outcome.to_event()), outcome)
    return run


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("is_result", [True, False])
def test_only_a_volatile_store_keeps_the_key_of_a_result(durable: bool, is_result: bool) -> None:
    held, run = HeldRuns(durable=durable), ended("a")
    held.add(run)
    stays = is_result and not durable
    assert held.end(run, is_result=is_result) == stays
    assert (held.get(run.ref), run.ref in held, len(held)) == ((run, True, 1) if stays else (None, False, 0))


def test_the_end_of_an_earlier_run_removes_no_later_one() -> None:
    held, earlier, later = HeldRuns(durable=False), ended("a"), run_of("a")
    held.add(earlier)
    held.drop_all(NodeFenced())
    held.add(later)
    assert not held.end(earlier, is_result=True)
    assert held.get(later.ref) is later


def test_the_run_that_ended_first_is_evicted_first_and_one_under_way_never() -> None:
    held, runs = HeldRuns(durable=False), [ended("a"), ended("b"), run_of("c")]
    for run in runs:
        held.add(run)
    for run in (runs[1], runs[0]):
        held.end(run, is_result=True)
    assert held.under_way() == [runs[2]]
    assert [held.evict_first_ended() for _ in range(3)] == [runs[1], runs[0], None]
    assert not held.has_evictable
    assert len(held) == 1


def test_what_expires_is_evicted_once() -> None:
    held, runs = HeldRuns(durable=False), [ended("a", forget_at_s=5.0), ended("b", forget_at_s=6.0), run_of("c")]
    for run in runs:
        held.add(run)
    assert list(held.evict_expired(5.0)) == [runs[0]]
    assert list(held.evict_expired(5.0)) == []
    assert len(held) == 2


def test_runs_can_begin_while_those_under_way_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that serves the metrics counts them while the node's own goes on."""
    held, run, other = HeldRuns(durable=True), run_of("a"), run_of("b")

    def has_ended(_: TaskRun) -> bool:
        held.add(other)  # by the node's thread, in the midst of the count
        return False

    held.add(run)
    monkeypatch.setattr(TaskRun, "has_ended", property(has_ended))
    assert held.under_way() == [run]
    assert len(held) == 2
