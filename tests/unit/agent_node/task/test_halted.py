"""A task that is halted: one that runs, one that comes, one that an earlier node left."""

import asyncio
from pathlib import Path

import pytest

from agent_node.lifecycle.halting import stop_halted
from agentring.cluster.halts import HaltScope
from agentring.errors import Halted
from agentring.ids import TenantId
from agentring.v1.task_pb2 import DISPOSITION_JOINED, TASK_STATE_CANCELLED, TASK_STATE_COMPLETED, TASK_STATE_PENDING
from harness.halts import EVERYTHING, agent, halted, tenant
from harness.task_runs import running

SCOPES = pytest.mark.parametrize("scope", [EVERYTHING, tenant(), agent("held")])


class _NoSessions:
    sessions: tuple[object, ...] = ()


@SCOPES
async def test_a_run_is_cancelled_and_none_begins(tmp_path: Path, scope: HaltScope) -> None:
    async with running(tmp_path) as node, asyncio.TaskGroup() as tasks:
        halts = node.env.halts
        enforcing = tasks.create_task(stop_halted(halts, _NoSessions(), node.runs, tasks))  # type: ignore[arg-type]
        run, _ = await node.run()
        await node.stage.begun.wait()
        halts.say(halted(scope))
        await run.ended.wait()
        assert (run.state, run.cancel_reason) == (TASK_STATE_CANCELLED, "HALTED")
        with pytest.raises(Halted):
            await node.run("other")
        halts.unsay(scope)
        other, _ = await node.run("other")
        node.stage.go.set()
        await other.ended.wait()
        assert other.state == TASK_STATE_COMPLETED
        enforcing.cancel()


async def test_a_run_that_waits_for_its_slot_is_held_and_joined_and_then_runs(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        halts = node.env.halts
        taken = 0
        while node.slots.acquire_free(TenantId("other")):
            taken += 1
        run, _ = await node.run()
        halts.say(halted(hold=True))
        node.slots.release()
        for _ in range(20):
            await asyncio.sleep(0)
        joined, disposition = await node.run()
        assert (joined, disposition) == (run, DISPOSITION_JOINED)
        assert run.state == TASK_STATE_PENDING
        assert node.stage.runs == 0
        node.stage.go.set()
        halts.unsay(EVERYTHING)
        await run.ended.wait()
        assert run.state == TASK_STATE_COMPLETED
