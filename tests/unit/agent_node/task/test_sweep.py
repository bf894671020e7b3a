"""The sweep resumes tasks that a dead node left, and no others."""

import pytest

from agentring.v1.task_pb2 import (
    TASK_STATE_COMPLETED,
)
from harness.two_task_nodes import BOUNDARIES, KEY, dead_at, two_nodes


@pytest.mark.parametrize("boundary", BOUNDARIES[1:])
async def test_wherever_a_node_dies_the_task_ends_though_nobody_asks(boundary: str) -> None:
    async with two_nodes() as nodes:
        await dead_at(nodes, boundary)
        nodes.two.stage.go.set()
        sweep = nodes.sweep()
        await sweep.sweep()
        assert nodes.two.stage.runs == 0  # what it sees for the first time may be somebody's
        await sweep.sweep()
        if boundary not in ("after end", "before release"):
            await (await nodes.two.runs.find(KEY)).ended.wait()
        assert (await nodes.stored_task()).state == TASK_STATE_COMPLETED
        assert nodes.two.stage.runs <= 1
        assert nodes.sweep()._seen == {}


async def test_a_sweep_leaves_alone_what_runs_what_changes_and_what_is_not_its_own() -> None:
    async with two_nodes() as nodes:
        run, _ = await nodes.one.run()
        await nodes.one.stage.begun.wait()
        sweep = nodes.sweep()
        for _ in range(3):
            await sweep.sweep()
        assert (nodes.two.stage.runs, run.has_ended) == (0, False)
        nodes.one.die()
        for _ in range(3):
            await nodes.stored.assert_owned(KEY, run.epoch)
            await sweep.sweep()
        assert nodes.two.stage.runs == 0
        await sweep.sweep()
        assert (await nodes.two.runs.find(KEY)).attempt == 2
