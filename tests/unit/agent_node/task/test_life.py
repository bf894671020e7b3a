"""The life of a task over nodes that come and go: stored before anybody is told, run once at a time, ended once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent_node.store import StoredTask
from agent_node.task.run import ATTEMPT_RANGE, TaskRun
from agent_node.task.sweep import TaskSweep
from agentring.errors import (
    AgentMismatch,
    NodeDraining,
    NodeOverloaded,
    NotOwner,
    SessionMoving,
    StoreUnavailable,
    TaskInputMismatch,
    TaskKeyActive,
    TaskNotFound,
    TooManyTasks,
)
from agentring.ids import Epoch, NodeId, parse_task
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event
from agentring.v1.task_pb2 import (
    DISPOSITION_JOINED,
    DISPOSITION_REPLAYED,
    DISPOSITION_STARTED,
    ON_DUPLICATE_REJECT,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
)
from harness.conditions import until
from harness.memberships import node as member
from harness.memberships import snapshot
from harness.sessions import kind_of
from harness.task_nodes import TaskNode, TaskWorld

KEY = parse_task("", "key")
BOUNDARIES = (
    "before accept",
    "after accept",
    "after claim",
    "after start",
    "in the agent",
    "before end",
    "after end",
    "before release",
)


class Two(TaskWorld):
    """Two nodes."""

    def __init__(self, tasks: asyncio.TaskGroup, **settings: float) -> None:
        super().__init__()
        self.one = TaskNode("n1", self, tasks, **settings)
        self.two = TaskNode("n2", self, tasks, **settings)

    async def stored_task(self) -> StoredTask:
        found = await self.stored.read(KEY)
        assert found is not None
        return found

    def sweep(self) -> TaskSweep:
        """The second node's: the ring is its own."""
        two, members = self.two, snapshot(member("n2", agents=("held",)))
        return TaskSweep(
            two.store,
            two.runs,
            lambda: members,
            NodeId("n2"),
            two.clock,
            interval_s=10.0,
            claims_are_made=lambda: True,
        )


@asynccontextmanager
async def two_nodes(**settings: float) -> AsyncIterator[Two]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        nodes = Two(tasks, **settings)
        try:
            yield nodes
        finally:
            for node in (nodes.one, nodes.two):
                node.die()
                node.points.let_go()


def told(run: TaskRun) -> list[Event]:
    return run.log.all_events()


def kinds(run: TaskRun) -> list[str]:
    return [kind_of(event) for event in told(run)]


async def dead_at(nodes: Two, boundary: str) -> asyncio.Event:
    """The first node dies there with the task; what it was about to do goes on once the returned event is set."""
    one = nodes.one
    held = one.points.hold(boundary)
    if boundary != "in the agent":
        one.stage.go.set()
    calling = asyncio.ensure_future(one.run())
    await (one.stage.begun if boundary == "in the agent" else one.points.reached[boundary]).wait()
    one.die()
    calling.cancel()
    await asyncio.wait([calling])
    return held


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_wherever_a_node_dies_the_next_caller_is_told_the_one_end(boundary: str) -> None:
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
        assert kinds(run)[0] == ("attempt_restarted" if begun_before else "turn_started")
        before = await nodes.stored_task()
        held.set()  # what was on its way lands now
        for _ in range(20):
            await asyncio.sleep(0)
        assert await nodes.stored_task() == before
        assert (before.state, before.attempt) == (TASK_STATE_COMPLETED, 2 if begun_before else 1)
        assert nodes.one.audited("task_committed") == (["task_committed"] if boundary == "before release" else [])


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
            await nodes.stored.hold(KEY, run.epoch)
            await sweep.sweep()
        assert nodes.two.stage.runs == 0
        await sweep.sweep()
        assert (await nodes.two.runs.find(KEY)).attempt == 2


@pytest.mark.parametrize("step", ["hold", "end"])
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
        assert len(nodes.one.audited("tool_started")) == (0 if step == "hold" else 1)
        nodes.two.stage.go.set()
        await later.ended.wait()
        assert later.state == TASK_STATE_COMPLETED
        await nodes.two.points.reached["after release"].wait()
        assert nodes.claims.held == {}


async def test_the_claim_is_given_up_with_the_end_and_any_node_replays_the_story() -> None:
    async with two_nodes() as nodes:
        nodes.one.stage.go.set()
        first, _ = await nodes.one.run()
        await nodes.one.points.reached["after release"].wait()
        assert (nodes.claims.held, len(nodes.one.runs)) == ({}, 0)
        for node in (nodes.one, nodes.two):
            again, disposition = await node.run(on_duplicate=ON_DUPLICATE_REJECT)
            assert disposition == DISPOSITION_REPLAYED
            assert told(again) == told(first)
            assert (again.to_task().text, dict(again.to_task().result)) == ("begun done", {"turns": 1})
            with pytest.raises(TaskInputMismatch):
                await node.run(given=session_pb2.Input(text="another"))
            with pytest.raises(AgentMismatch):
                await node.runs.find(KEY, "failing")
        assert nodes.two.stage.runs == 0


async def test_a_failed_task_is_told_again_with_its_reason() -> None:
    async with two_nodes() as nodes:
        first, _ = await nodes.one.run(agent="failing")
        await first.ended.wait()
        again, _ = await nodes.two.run(agent="failing")
        assert (again.state, told(again)) == (TASK_STATE_FAILED, told(first))
        assert again.to_task().failure == first.to_task().failure


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


async def test_a_run_begun_again_numbers_beyond_the_lost_one_and_voids_it() -> None:
    async with two_nodes() as nodes:
        run, _ = await nodes.one.run()
        await nodes.one.stage.begun.wait()
        nodes.one.die()
        later, _ = await nodes.two.run()
        await nodes.two.stage.begun.wait()
        first = told(later)[0]
        assert (kind_of(first), first.first_seq, first.seq) == ("attempt_restarted", 1, ATTEMPT_RANGE + 1)
        assert (first.attempt, first.attempt_restarted.reason) == (2, "NODE_LOST")
        told_seq = run.log.head_seq
        (rest, *_) = later.log.read(told_seq)[1]
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
        assert told(later)[0].attempt_restarted.reason == "NODE_DRAINED"


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
        assert (run.state, kinds(run)[-1], nodes.two.stage.runs) == (TASK_STATE_CANCELLED, "turn_cancelled", 0)
        assert (await nodes.stored_task()).state == TASK_STATE_CANCELLED
        assert (await nodes.two.run())[1] == DISPOSITION_REPLAYED


async def test_a_look_never_claims() -> None:
    async with two_nodes() as nodes:
        await dead_at(nodes, "in the agent")
        revision = nodes.claims.revision
        found = await nodes.two.runs.look_up(KEY)
        assert isinstance(found, StoredTask)
        assert (found.state, nodes.claims.revision, nodes.claims.held) == (TASK_STATE_RUNNING, revision, {})


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
async def test_an_end_whose_answer_is_lost_is_stored_again_and_told_once(point: str) -> None:
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


async def test_what_nobody_watches_is_cancelled_and_begins_anew() -> None:
    async with two_nodes(unwatched_timeout_s=0.3) as nodes:
        one = nodes.one
        run, _ = await one.run(cancel_when_unwatched=True)
        other, _ = await one.run("other")
        await one.stage.begun.wait()
        reader = asyncio.Event()
        run.log.subscribe(reader)
        for _ in range(5):
            one.clock.advance(0.1)
            one.runs.unwatched.cancel_due()
        run.log.unsubscribe(reader)
        for _ in range(3):
            one.runs.unwatched.cancel_due()
            one.clock.advance(0.1)
        assert not run.begins_anew
        held = one.points.hold("before end")
        one.runs.unwatched.cancel_due()
        await one.points.reached["before end"].wait()
        again = asyncio.ensure_future(one.run())  # comes while the cancel is being stored
        await asyncio.sleep(0)
        held.set()
        anew, disposition = await again
        assert (run.state, disposition) == (TASK_STATE_CANCELLED, DISPOSITION_STARTED)
        assert anew is not run
        assert (anew.attempt, anew.epoch > run.epoch, other.has_ended) == (1, True, False)


@pytest.mark.parametrize("how", ["joins", "watches"])
async def test_who_comes_just_before_the_look_that_would_cancel_is_not_told_that_nobody_watched(how: str) -> None:
    async with two_nodes(unwatched_timeout_s=0.5) as nodes:
        one = nodes.one
        run, _ = await one.run(cancel_when_unwatched=True)
        await one.stage.begun.wait()
        one.runs.unwatched.cancel_due()
        one.clock.advance(0.5)
        found = (await one.run())[0] if how == "joins" else await one.runs.find(KEY)
        assert found is run
        one.runs.unwatched.cancel_due()  # the caller's response headers are on their way, it does not read yet
        assert not run.begins_anew
        one.clock.advance(0.5)
        one.runs.unwatched.cancel_due()
        assert run.begins_anew  # it has never read


async def test_a_full_node_still_tells_what_has_ended_and_refuses_the_rest() -> None:
    async with two_nodes(max_tasks=1) as nodes:
        ended, _ = await nodes.two.run("ended", "failing")
        await ended.ended.wait()
        await nodes.one.run()
        assert (await nodes.one.run("ended", "failing"))[1] == DISPOSITION_REPLAYED
        with pytest.raises(NodeOverloaded):
            await nodes.one.run("more")
        assert await nodes.stored.read(parse_task("", "more")) is None


async def test_a_tenant_with_too_many_tasks_under_way_is_refused_another_and_keeps_nobody_else_out() -> None:
    async with two_nodes(max_tenant_tasks=2) as nodes:
        one = nodes.one
        first, _ = await one.run("a")
        await one.run("b")
        with pytest.raises(TooManyTasks):
            await one.run("c")
        assert await nodes.stored.read(parse_task("", "c")) is None
        assert (await one.run("b"))[1] == DISPOSITION_JOINED
        assert (await one.run("c", tenant="other"))[1] == DISPOSITION_STARTED
        await one.runs.cancel(first)
        await until(lambda: len(one.runs) == 2, "the cancelled run is given up")
        assert (await one.run("c"))[1] == DISPOSITION_STARTED
        with pytest.raises(TooManyTasks):
            await one.run("d")
        assert (await one.run("a"))[1] == DISPOSITION_REPLAYED
