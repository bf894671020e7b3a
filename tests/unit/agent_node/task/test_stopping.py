"""Task runs that are cancelled, drained, dropped or fenced."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from agent_node.task.run import TaskRun
from agentring.errors import (
    NodeDraining,
    NodeFenced,
    TaskNotFound,
)
from agentring.ids import TenantId
from agentring.v1.task_pb2 import (
    DISPOSITION_JOINED,
    DISPOSITION_REPLAYED,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
)
from harness.clock import PATIENCE_S
from harness.premises import TTL_S
from harness.read_events import read
from harness.task_runs import KEY, kinds_of, running


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


async def test_a_drain_cancels_what_does_not_end_in_time_and_starts_nothing_more(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run()
        await node.stage.begun.wait()
        await node.runs.drain(0.01)
        assert run.state == TASK_STATE_CANCELLED
        with pytest.raises(NodeDraining):
            await node.run("more")


async def test_a_drop_wakes_those_that_wait_for_the_end(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run()
        await node.stage.begun.wait()
        node.runs.drop_all(NodeFenced())
        await run.ended.wait()
        assert isinstance(run.log.end_error, NodeFenced)
        assert not run.has_ended


async def test_a_run_can_be_cancelled_at_any_moment_and_ends_once(tmp_path: Path) -> None:
    """The cancel comes after so many turns of the event loop as it takes from the call to the end, and beyond."""
    for moment in range(40):
        async with running(tmp_path) as node:
            node.stage.go.set()
            starting = asyncio.ensure_future(node.run())
            found: TaskRun | None = None
            while found is None:
                await asyncio.sleep(0)
                with suppress(TaskNotFound):
                    found = await node.runs.find(KEY)
            for _ in range(moment):
                await asyncio.sleep(0)
            await node.runs.cancel(found)
            assert (await starting)[0] is found
            assert found.state in (TASK_STATE_CANCELLED, TASK_STATE_COMPLETED)
            assert [kind for kind in kinds_of(found) if kind in ("turn_cancelled", "turn_completed")] == kinds_of(
                found
            )[-1:]
            assert (await node.run())[1] == DISPOSITION_REPLAYED


@pytest.mark.parametrize("ended_by", ["cancel", "drain", "drop"])
async def test_an_agent_that_swallows_its_cancellation_holds_nobody_up(tmp_path: Path, ended_by: str) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run(agent="stubborn")
        await node.stubborn.begun.wait()
        match ended_by:
            case "cancel":
                await node.runs.cancel(run)
            case "drain":
                await node.runs.drain(0.0)
            case "drop":
                node.runs.drop_all(NodeFenced())
                await run.ended.wait()
        assert run.has_ended == (ended_by != "drop")
        node.stubborn.let_end.set()


async def test_a_client_cancel_during_a_drain_has_the_clients_reason(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run()
        await node.stage.begun.wait()
        draining = asyncio.ensure_future(node.runs.drain(PATIENCE_S))
        await asyncio.sleep(0)
        await node.runs.cancel(run)
        await draining
        _, events = read(run.log, run.log.head_seq - 1)
        assert events[-1].turn_cancelled.reason == "CLIENT"


async def test_a_drain_lets_runs_end(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run()
        await node.stage.begun.wait()
        draining = asyncio.ensure_future(node.runs.drain(PATIENCE_S))
        await asyncio.sleep(0)
        assert (await node.run())[1] == DISPOSITION_JOINED
        node.stage.go.set()
        await draining
        assert run.state == TASK_STATE_COMPLETED
        assert (await node.run())[1] == DISPOSITION_REPLAYED


async def test_a_start_under_way_when_a_drain_begins_gives_its_claim_back(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        starting = asyncio.ensure_future(node.run())
        await node.claims.asked.wait()
        draining = asyncio.ensure_future(node.runs.drain(1.0))
        await asyncio.sleep(0.01)
        assert not draining.done()  # nothing may be claimed once it is over
        node.claims.go.set()
        with pytest.raises(NodeDraining):
            await starting
        await draining
        assert [claim.ref for claim in node.claims.released] == [KEY]
        assert (len(node.runs), node.stage.runs) == (0, 0)


async def test_a_start_under_way_at_the_fence_starts_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        starting = asyncio.ensure_future(node.run())
        await node.claims.asked.wait()
        node.clock.advance(TTL_S)
        node.runs.drop_all(NodeFenced())
        node.claims.go.set()
        with pytest.raises(NodeFenced):
            await starting
        assert (len(node.runs), node.stage.runs) == (0, 0)


@pytest.mark.parametrize("act", ["ends", "is cancelled"])
async def test_past_the_fence_no_end_is_published(tmp_path: Path, act: str) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run()
        await node.stage.begun.wait()
        kinds = kinds_of(run)
        node.clock.advance(TTL_S)
        if act == "ends":
            node.stage.go.set()
        else:
            run.cancel("CLIENT")
        assert run.task is not None
        await asyncio.wait([run.task])
        assert (kinds_of(run), run.has_ended) == (kinds, False)
        cancelling = asyncio.ensure_future(node.runs.cancel(run))
        await asyncio.sleep(0)
        node.runs.drop_all(NodeFenced())
        with pytest.raises(NodeFenced):
            await cancelling


async def test_a_run_that_waits_for_a_slot_can_be_cancelled(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for _ in range(10):
            await node.slots.acquire(TenantId("t"))
        run, _ = await node.run()
        assert node.runs.running == 1
        await node.runs.cancel(run)
        assert kinds_of(run) == ["turn_cancelled"]
        assert (node.stage.runs, node.runs.running, len(node.runs)) == (0, 0, 1)
