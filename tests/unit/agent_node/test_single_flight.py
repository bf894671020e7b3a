"""Task runs on their node: one for a key, shared, remembered, forgotten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_node.settings import NodeSettings
from agent_node.single_flight import TaskRuns
from agent_node.task_run import TaskRun
from agentring.errors import (
    AgentNotFound,
    AgentRequired,
    CoordinatorUnavailable,
    NodeDraining,
    NodeFenced,
    NodeOverloaded,
    NotOwner,
    TaskInputMismatch,
    TaskKeyActive,
    TaskNotFound,
)
from agentring.ids import NodeId, parse_task
from agentring.v1 import session_pb2
from agentring.v1.task_pb2 import (
    DISPOSITION_JOINED,
    DISPOSITION_REPLAYED,
    DISPOSITION_STARTED,
    ON_DUPLICATE_JOIN,
    ON_DUPLICATE_REJECT,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    Disposition,
)
from harness.clock import FakeClock
from harness.premises import FakeClaims, Stage, environment

KEY = parse_task("", "key")
GIVEN = session_pb2.Input(text="do it")


class Node:
    """Task runs and all that they stand on."""

    def __init__(self, tasks: asyncio.TaskGroup, tmp_path: Path, **settings: float) -> None:
        self.clock = FakeClock()
        self.claims = FakeClaims()
        self.stage = Stage()
        self.runs = TaskRuns(
            environment(self.clock),
            self.claims.as_claims,
            {"held": self.stage.held, "failing": self.stage.failing},
            self.clock,
            NodeSettings.model_validate({"node_id": "n1", "data_dir": tmp_path, **settings}),
            asyncio.Semaphore(10),
            tasks,
        )

    async def run(self, name: str = "key", agent: str = "held") -> tuple[TaskRun, Disposition.ValueType]:
        return await self.runs.run(parse_task("", name), agent, GIVEN, 5, ON_DUPLICATE_JOIN)


@asynccontextmanager
async def running(tmp_path: Path, **settings: float) -> AsyncIterator[Node]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        node = Node(tasks, tmp_path, **settings)
        yield node
        node.runs.drop_all(NodeFenced())


async def test_concurrent_calls_are_one_run_and_later_ones_are_given_its_result(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        told = await asyncio.gather(*(node.run() for _ in range(10)))
        assert sorted(disposition for _, disposition in told) == [DISPOSITION_STARTED] + [DISPOSITION_JOINED] * 9
        run = told[0][0]
        assert all(each is run for each, _ in told)
        node.stage.go.set()
        await run.ended.wait()
        assert await node.run() == (run, DISPOSITION_REPLAYED)
        assert (run.state, node.stage.runs, node.claims.claimed) == (TASK_STATE_COMPLETED, 1, [KEY])
        task = run.to_task(NodeId("n1"))
        assert (task.text, dict(task.result)) == ("begun done", {"turns": 1})


async def test_another_input_or_agent_and_a_reject_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await node.run()
        with pytest.raises(TaskInputMismatch):
            await node.run(agent="failing")
        with pytest.raises(TaskKeyActive):
            await node.runs.run(KEY, "held", GIVEN, 5, ON_DUPLICATE_REJECT)


async def test_a_failed_claim_reaches_its_callers_and_the_next_call_claims_anew(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.claim_error = CoordinatorUnavailable()
        results = await asyncio.gather(*(node.run() for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [CoordinatorUnavailable] * 3
        node.claims.claim_error = None
        assert (await node.run())[1] == DISPOSITION_STARTED


@pytest.mark.parametrize(("agent", "error"), [("", AgentRequired), ("nobodys", AgentNotFound)])
async def test_a_refusal_never_hides_another_nodes_run(tmp_path: Path, agent: str, error: type[Exception]) -> None:
    async with running(tmp_path) as node:
        with pytest.raises(error):
            await node.run(agent=agent)
        with pytest.raises(TaskNotFound):
            await node.runs.find(KEY)
        node.claims.held_elsewhere = NotOwner("n2", "n2:1", 5)
        with pytest.raises(NotOwner):
            await node.run(agent=agent)
        with pytest.raises(NotOwner):
            await node.runs.find(KEY)


async def test_a_cancel_ends_the_run_and_changes_no_ended_one(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run()
        await node.stage.begun.wait()
        await node.runs.cancel(run)
        assert run.state == TASK_STATE_CANCELLED
        failed, _ = await node.run("other", "failing")
        await failed.ended.wait()
        await node.runs.cancel(failed)
        assert failed.state == TASK_STATE_FAILED


async def test_a_key_is_given_up_when_its_retention_is_over_and_not_before(tmp_path: Path) -> None:
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


async def test_a_drain_cancels_what_does_not_end_in_time_and_starts_nothing_more(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run()
        await node.stage.begun.wait()
        await node.runs.drain(0.01)
        assert run.state == TASK_STATE_CANCELLED
        with pytest.raises(NodeDraining):
            await node.run("more")


async def test_a_drop_wakes_whoever_waits_for_the_end(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run()
        await node.stage.begun.wait()
        node.runs.drop_all(NodeFenced())
        await run.ended.wait()
        assert isinstance(run.log.end_error, NodeFenced)
        assert not run.has_ended
