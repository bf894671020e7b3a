"""Task runs on their node: one for a key, shared, remembered, forgotten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent_node.run.environment import TurnLimits
from agent_node.run.slots import RunSlots
from agent_node.settings import NodeSettings
from agent_node.store import MemoryTaskStore
from agent_node.task.run import TaskRun
from agent_node.task.runs import TaskRuns
from agentring.errors import (
    AgentNotFound,
    AgentRequired,
    CoordinatorUnavailable,
    InternalError,
    MalformedRequest,
    NodeDraining,
    NodeFenced,
    NodeOverloaded,
    NotOwner,
    TaskInputMismatch,
    TaskKeyActive,
    TaskNotFound,
)
from agentring.ids import TenantId, parse_task
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
from harness.clock import PATIENCE_S, FakeClock
from harness.premises import TTL_S, FakeClaims, Stage, environment
from harness.sessions import GRACE_S, kind_of
from harness.stubborn import Stubborn

KEY = parse_task("", "key")
GIVEN = session_pb2.Input(text="do it")


class Node:
    """Task runs and all that they stand on."""

    def __init__(self, tasks: asyncio.TaskGroup, tmp_path: Path, **settings: float) -> None:
        self.clock = FakeClock()
        self.claims = FakeClaims()
        self.stage = Stage()
        self.stubborn = Stubborn()
        limits = TurnLimits(PATIENCE_S, 1 << 20, 1 << 16, cancel_grace_s=GRACE_S)
        self.slots = RunSlots(10, 100)
        self.runs = TaskRuns(
            replace(environment(self.clock), limits=limits),
            self.claims.as_claims,
            MemoryTaskStore(),
            {"held": self.stage.held, "failing": self.stage.failing, "stubborn": self.stubborn.agent},
            self.clock,
            NodeSettings.model_validate({"node_id": "n1", "data_dir": tmp_path, **settings}),
            self.slots,
            tasks,
        )

    async def run(
        self, name: str = "key", agent: str = "held", given: session_pb2.Input = GIVEN
    ) -> tuple[TaskRun, Disposition.ValueType]:
        return await self.runs.run(parse_task("", name), agent, given, 5, ON_DUPLICATE_JOIN)


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
        task = run.to_task()
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


def told(run: TaskRun) -> list[str]:
    """The kinds of its events."""
    seq, kinds = 0, []
    while seq < run.log.head_seq:
        seq, events = run.log.read(seq)
        kinds += [kind_of(event) for event in events]
    return kinds


async def test_a_run_is_told_from_its_start_to_its_end(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.stage.go.set()
        run, _ = await node.run()
        await run.ended.wait()
        assert told(run) == ["turn_started", "text_delta", "turn_completed"]
        failed, _ = await node.run("other", "failing")
        await failed.ended.wait()
        assert told(failed) == ["turn_started", "text_delta", "turn_failed"]
        assert failed.end_seq == failed.log.head_seq
        assert failed.to_task().failure.reason == "AGENT_ERROR"


@pytest.mark.parametrize("when", ["claimed", "running", "ended"])
async def test_another_input_is_a_mismatch_at_any_time(tmp_path: Path, when: str) -> None:
    async with running(tmp_path) as node:
        if when == "claimed":
            node.claims.go.clear()
        starting = asyncio.ensure_future(node.run())
        await node.claims.asked.wait()
        if when != "claimed":
            run, _ = await starting
            if when == "ended":
                node.stage.go.set()
                await run.ended.wait()
        other = asyncio.ensure_future(node.run(given=session_pb2.Input(text="something else")))
        await asyncio.sleep(0)
        node.claims.go.set()
        with pytest.raises(TaskInputMismatch):
            await other
        assert (await starting)[1] == DISPOSITION_STARTED


async def test_a_reject_joins_nothing_but_is_given_the_result(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        starting = asyncio.ensure_future(node.run())
        await node.claims.asked.wait()
        rejecting = asyncio.ensure_future(node.runs.run(KEY, "held", GIVEN, 5, ON_DUPLICATE_REJECT))
        await asyncio.sleep(0)
        node.claims.go.set()
        with pytest.raises(TaskKeyActive):
            await rejecting
        run, _ = await starting
        node.stage.go.set()
        await run.ended.wait()
        assert (await node.runs.run(KEY, "held", GIVEN, 5, ON_DUPLICATE_REJECT))[1] == DISPOSITION_REPLAYED


async def test_what_is_no_json_is_refused_before_a_claim(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        given = session_pb2.Input()
        given.data["x"] = float("inf")
        with pytest.raises(MalformedRequest):
            await node.run(given=given)
        assert node.claims.claimed == []


async def test_whoever_starts_a_run_can_go_away(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        starting = asyncio.ensure_future(node.run())
        await node.claims.asked.wait()
        starting.cancel()
        await asyncio.wait([starting])
        node.claims.go.set()
        assert (await node.run())[1] == DISPOSITION_JOINED
        assert node.claims.claimed == [KEY]


@pytest.mark.parametrize("wrong", ["", "nobodys"])
async def test_what_is_wrong_with_one_caller_is_not_told_to_another(tmp_path: Path, wrong: str) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        calls = [asyncio.ensure_future(node.run(agent=agent)) for agent in (wrong, "held")]
        await node.claims.asked.wait()
        node.claims.go.set()
        refused, started = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(refused, AgentRequired | AgentNotFound)
        assert isinstance(started, tuple)
        assert started[1] == DISPOSITION_STARTED


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
            assert [kind for kind in told(found) if kind in ("turn_cancelled", "turn_completed")] == told(found)[-1:]
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


async def test_a_client_that_cancels_during_a_drain_is_told_that_it_was_the_client(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run()
        await node.stage.begun.wait()
        draining = asyncio.ensure_future(node.runs.drain(PATIENCE_S))
        await asyncio.sleep(0)
        await node.runs.cancel(run)
        await draining
        _, events = run.log.read(run.log.head_seq - 1)
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
async def test_past_the_fence_no_end_is_told(tmp_path: Path, act: str) -> None:
    async with running(tmp_path) as node:
        run, _ = await node.run()
        await node.stage.begun.wait()
        kinds = told(run)
        node.clock.advance(TTL_S)
        if act == "ends":
            node.stage.go.set()
        else:
            run.cancel("CLIENT")
        assert run.task is not None
        await asyncio.wait([run.task])
        assert (told(run), run.has_ended) == (kinds, False)
        cancelling = asyncio.ensure_future(node.runs.cancel(run))
        await asyncio.sleep(0)
        node.runs.drop_all(NodeFenced())
        with pytest.raises(NodeFenced):
            await cancelling


async def test_a_run_that_waits_for_a_place_can_be_cancelled(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for _ in range(10):
            await node.slots.acquire(TenantId("t"))
        run, _ = await node.run()
        assert node.runs.running == 1
        await node.runs.cancel(run)
        assert told(run) == ["turn_cancelled"]
        assert (node.stage.runs, node.runs.running, len(node.runs)) == (0, 0, 1)


async def test_a_fault_of_ours_ends_its_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as node:
        other, _ = await node.run("other")
        await node.stage.begun.wait()
        monkeypatch.setattr(TaskRun, "end", broken)
        run, _ = await node.run(agent="failing")
        await run.ended.wait()
        assert isinstance(run.log.end_error, InternalError)
        with pytest.raises(InternalError):
            await node.runs.cancel(run)
        with pytest.raises(TaskNotFound):
            await node.runs.find(KEY)
        monkeypatch.undo()
        node.stage.go.set()
        await other.ended.wait()
        assert other.state == TASK_STATE_COMPLETED
        assert (await node.run())[1] == DISPOSITION_STARTED


def broken(*_: object) -> None:
    raise OSError("a fault of ours")


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
