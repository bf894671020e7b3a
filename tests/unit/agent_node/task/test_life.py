"""The life of a task over two nodes and one store: stored first, run once at a time, ended once, replayed anywhere."""

import asyncio

import pytest

from agentring.errors import (
    AgentMismatch,
    NotOwner,
    StoreUnavailable,
    TaskInputMismatch,
    TaskKeyActive,
    TaskNotFound,
)
from agentring.ids import parse_task
from agentring.v1 import session_pb2
from agentring.v1.task_pb2 import (
    DISPOSITION_REPLAYED,
    ON_DUPLICATE_REJECT,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
)
from harness.two_task_nodes import KEY, events_of, two_nodes


async def test_the_claim_is_released_with_the_end_and_any_node_replays_the_events() -> None:
    async with two_nodes() as nodes:
        nodes.one.stage.go.set()
        first, _ = await nodes.one.run()
        await nodes.one.points.reached["after release"].wait()
        assert (nodes.claims.held, len(nodes.one.runs)) == ({}, 0)
        for node in (nodes.one, nodes.two):
            replayed, disposition = await node.run(on_duplicate=ON_DUPLICATE_REJECT)
            assert disposition == DISPOSITION_REPLAYED
            assert events_of(replayed) == events_of(first)
            assert (replayed.to_task().text, dict(replayed.to_task().result)) == ("begun done", {"turns": 1})
            with pytest.raises(TaskInputMismatch):
                await node.run(task_input=session_pb2.Input(text="another"))
            with pytest.raises(AgentMismatch):
                await node.runs.find(KEY, "failing")
        assert nodes.two.stage.runs == 0


async def test_a_failed_task_is_replayed_with_its_reason() -> None:
    async with two_nodes() as nodes:
        first, _ = await nodes.one.run(agent="failing")
        await first.ended.wait()
        replayed, _ = await nodes.two.run(agent="failing")
        assert (replayed.state, events_of(replayed)) == (TASK_STATE_FAILED, events_of(first))
        assert replayed.to_task().failure == first.to_task().failure


async def test_another_nodes_run_is_found_there() -> None:
    async with two_nodes() as nodes:
        await nodes.one.run()
        for call in (nodes.two.run(), nodes.two.runs.find(KEY), nodes.two.runs.look_up(KEY)):
            with pytest.raises(NotOwner):
                await call
        with pytest.raises(TaskKeyActive):
            await nodes.one.run(on_duplicate=ON_DUPLICATE_REJECT)
        with pytest.raises(TaskNotFound):
            await nodes.two.runs.find(parse_task("other", "key"))


async def test_two_nodes_that_begin_at_once_are_one_run() -> None:
    async with two_nodes() as nodes:
        nodes.one.stage.go.set()
        nodes.two.stage.go.set()
        results = await asyncio.gather(nodes.one.run(), nodes.two.run(), return_exceptions=True)
        runs = [result[0] for result in results if isinstance(result, tuple)]
        for run in runs:
            await run.ended.wait()
        assert all(isinstance(result, tuple | NotOwner) for result in results)
        assert nodes.one.stage.runs + nodes.two.stage.runs == 1
        assert (await nodes.stored_task()).attempt == 1


async def test_a_cancel_that_comes_while_the_end_is_stored_changes_nothing() -> None:
    async with two_nodes() as nodes:
        held = nodes.one.points.hold("before end")
        nodes.one.stage.go.set()
        run, _ = await nodes.one.run()
        await nodes.one.points.reached["before end"].wait()
        cancelling = asyncio.ensure_future(nodes.one.runs.cancel(run))
        await asyncio.sleep(0)
        held.set()
        await cancelling
        assert run.state == TASK_STATE_COMPLETED


@pytest.mark.parametrize("point", ["before end", "after end"])
async def test_an_end_whose_answer_is_lost_is_stored_again_and_published_once(point: str) -> None:
    async with two_nodes() as nodes:
        nodes.one.points.errors[point] = StoreUnavailable()
        nodes.one.stage.go.set()
        run, _ = await nodes.one.run()
        await nodes.one.points.reached[point].wait()
        while not run.ended.is_set():
            await asyncio.sleep(0)
            nodes.one.clock.advance(0.05)
        assert run.state == TASK_STATE_COMPLETED
        assert nodes.one.audited("task_committed") == ["task_committed"]


@pytest.mark.parametrize("point", ["before accept", "after accept", "before start", "after start"])
async def test_a_store_that_does_not_answer_begins_no_run_and_keeps_no_claim(point: str) -> None:
    async with two_nodes() as nodes:
        nodes.one.points.errors[point] = StoreUnavailable()
        with pytest.raises(StoreUnavailable):
            await nodes.one.run()
        assert (nodes.one.stage.runs, len(nodes.one.runs), nodes.claims.held) == (0, 0, {})
        nodes.one.stage.go.set()
        run, _ = await nodes.one.run()
        await run.ended.wait()
        assert run.state == TASK_STATE_COMPLETED
