"""Tasks whose node died or drained go on at another one, and end once."""

import asyncio

import pytest

from agent_node.store import StoredTask
from agent_node.task.run import ATTEMPT_RANGE
from agentring.errors import (
    NodeDraining,
    SessionMoving,
)
from agentring.ids import Epoch
from agentring.v1.task_pb2 import (
    DISPOSITION_JOINED,
    DISPOSITION_REPLAYED,
    DISPOSITION_STARTED,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
)
from harness.read_events import read
from harness.sessions import kind_of
from harness.two_task_nodes import BOUNDARIES, KEY, dead_at, events_of, kinds_of, two_nodes


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_wherever_a_node_dies_the_next_caller_gets_the_one_end(boundary: str) -> None:
    async with two_nodes() as nodes:
        held = await dead_at(nodes, boundary)
        nodes.two.stage.go.set()
        run, disposition = await nodes.two.run()
        await run.ended.wait()
        had_ended = boundary in ("after end", "before release")
        begun_before = boundary in ("after start", "in the agent", "before end")
        assert run.state == TASK_STATE_COMPLETED
        assert disposition == (
            DISPOSITION_REPLAYED
            if had_ended
            else DISPOSITION_STARTED
            if boundary == "before accept"
            else DISPOSITION_JOINED
        )
        assert nodes.two.stage.runs == (0 if had_ended else 1)
        assert kinds_of(run)[0] == ("attempt_restarted" if begun_before else "turn_started")
        before = await nodes.stored_task()
        held.set()  # what was on its way lands now
        for _ in range(20):
            await asyncio.sleep(0)
        assert await nodes.stored_task() == before
        assert (before.state, before.attempt) == (TASK_STATE_COMPLETED, 2 if begun_before else 1)
        assert nodes.one.audited("task_committed") == (["task_committed"] if boundary == "before release" else [])


@pytest.mark.parametrize("step", ["assert_owned", "end"])
async def test_a_run_that_another_has_followed_is_dropped_and_changes_nothing(step: str) -> None:
    async with two_nodes() as nodes:
        held = nodes.one.points.hold(f"before {step}")
        nodes.one.stage.go.set()
        run, _ = await nodes.one.run(agent="tooling")
        await nodes.one.points.reached[f"before {step}"].wait()
        nodes.claims.free("n1")  # its lease is over, and it has not noticed
        later, _ = await nodes.two.run(agent="tooling")
        held.set()
        await run.ended.wait()
        assert isinstance(run.log.end_error, SessionMoving)
        assert not run.has_ended
        assert nodes.one.audited("task_committed") == []
        assert len(nodes.one.audited("tool_started")) == (0 if step == "assert_owned" else 1)
        nodes.two.stage.go.set()
        await later.ended.wait()
        assert later.state == TASK_STATE_COMPLETED
        await nodes.two.points.reached["after release"].wait()
        assert nodes.claims.held == {}


async def test_a_run_begun_again_numbers_beyond_the_lost_one_and_voids_it() -> None:
    async with two_nodes() as nodes:
        run, _ = await nodes.one.run()
        await nodes.one.stage.begun.wait()
        nodes.one.die()
        later, _ = await nodes.two.run()
        await nodes.two.stage.begun.wait()
        first = events_of(later)[0]
        assert (kind_of(first), first.first_seq, first.seq) == ("attempt_restarted", 1, ATTEMPT_RANGE + 1)
        assert (first.attempt, first.attempt_restarted.reason) == (2, "NODE_LOST")
        told_seq = run.log.head_seq
        (rest, *_) = read(later.log, told_seq)[1]
        assert (kind_of(rest), rest.first_seq, rest.seq) == ("attempt_restarted", told_seq + 1, first.seq)
        assert later.continues_log_of(run.epoch, run.log.head_seq)
        assert not later.continues_log_of(run.epoch, later.log.head_seq)


async def test_a_drained_run_goes_on_elsewhere() -> None:
    async with two_nodes() as nodes:
        run, _ = await nodes.one.run()
        await nodes.one.stage.begun.wait()
        await nodes.one.runs.drain(0.01)
        assert isinstance(run.log.end_error, NodeDraining)
        assert (await nodes.stored_task()).state == TASK_STATE_PENDING
        with pytest.raises(NodeDraining):
            await nodes.one.run("more")
        later, disposition = await nodes.two.run()
        await nodes.two.stage.begun.wait()
        assert disposition == DISPOSITION_JOINED
        assert events_of(later)[0].attempt_restarted.reason == "NODE_DRAINED"


async def test_a_task_that_is_cut_off_too_often_has_failed() -> None:
    async with two_nodes() as nodes:
        await dead_at(nodes, "in the agent")
        for _ in range(2):
            nodes.claims.revision += 1
            await nodes.stored.start(KEY, Epoch(nodes.claims.revision), "n9/1")
        run, _ = await nodes.two.run()
        await run.ended.wait()
        assert run.to_task().failure.reason == "ATTEMPTS_EXHAUSTED"
        assert (nodes.two.stage.runs, (await nodes.stored_task()).state) == (0, TASK_STATE_FAILED)


async def test_what_nobody_runs_is_cancelled_without_being_run() -> None:
    async with two_nodes() as nodes:
        await dead_at(nodes, "in the agent")
        run = await nodes.two.runs.find(KEY, to_cancel=True)
        await nodes.two.runs.cancel(run)
        assert (run.state, kinds_of(run)[-1], nodes.two.stage.runs) == (TASK_STATE_CANCELLED, "turn_cancelled", 0)
        assert (await nodes.stored_task()).state == TASK_STATE_CANCELLED
        assert (await nodes.two.run())[1] == DISPOSITION_REPLAYED


async def test_a_look_never_claims() -> None:
    async with two_nodes() as nodes:
        await dead_at(nodes, "in the agent")
        revision = nodes.claims.revision
        found = await nodes.two.runs.look_up(KEY)
        assert isinstance(found, StoredTask)
        assert (found.state, nodes.claims.revision, nodes.claims.held) == (TASK_STATE_RUNNING, revision, {})
