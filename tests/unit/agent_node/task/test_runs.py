"""Task runs on their node: one for a key, shared by its callers, whose refusals are their own."""

import asyncio
from pathlib import Path

import pytest

from agent_node.task.run import TaskRun
from agentring.errors import (
    AgentNotFound,
    AgentRequired,
    CoordinatorUnavailable,
    InternalError,
    MalformedRequest,
    NotOwner,
    TaskInputMismatch,
    TaskKeyActive,
    TaskNotFound,
)
from agentring.v1 import session_pb2
from agentring.v1.task_pb2 import (
    DISPOSITION_JOINED,
    DISPOSITION_REPLAYED,
    DISPOSITION_STARTED,
    ON_DUPLICATE_REJECT,
    TASK_STATE_COMPLETED,
)
from harness.task_runs import INPUT, KEY, kinds_of, running


async def test_concurrent_calls_are_one_run_and_later_ones_get_its_result(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        answers = await asyncio.gather(*(node.run() for _ in range(10)))
        assert sorted(disposition for _, disposition in answers) == [DISPOSITION_STARTED] + [DISPOSITION_JOINED] * 9
        run = answers[0][0]
        assert all(each is run for each, _ in answers)
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
            await node.runs.run(KEY, "held", INPUT, 5, ON_DUPLICATE_REJECT)


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


async def test_a_runs_events_are_published_from_its_start_to_its_end(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.stage.go.set()
        run, _ = await node.run()
        await run.ended.wait()
        assert kinds_of(run) == ["turn_started", "text_delta", "turn_completed"]
        failed, _ = await node.run("other", "failing")
        await failed.ended.wait()
        assert kinds_of(failed) == ["turn_started", "text_delta", "turn_failed"]
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
        other = asyncio.ensure_future(node.run(task_input=session_pb2.Input(text="something else")))
        await asyncio.sleep(0)
        node.claims.go.set()
        with pytest.raises(TaskInputMismatch):
            await other
        assert (await starting)[1] == DISPOSITION_STARTED


async def test_a_reject_joins_nothing_but_gets_the_result(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        starting = asyncio.ensure_future(node.run())
        await node.claims.asked.wait()
        rejecting = asyncio.ensure_future(node.runs.run(KEY, "held", INPUT, 5, ON_DUPLICATE_REJECT))
        await asyncio.sleep(0)
        node.claims.go.set()
        with pytest.raises(TaskKeyActive):
            await rejecting
        run, _ = await starting
        node.stage.go.set()
        await run.ended.wait()
        assert (await node.runs.run(KEY, "held", INPUT, 5, ON_DUPLICATE_REJECT))[1] == DISPOSITION_REPLAYED


async def test_what_is_no_json_is_refused_before_a_claim(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        task_input = session_pb2.Input()
        task_input.data["x"] = float("inf")
        with pytest.raises(MalformedRequest):
            await node.run(task_input=task_input)
        assert node.claims.claimed == []


async def test_a_caller_that_starts_a_run_can_go_away(tmp_path: Path) -> None:
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
async def test_what_is_wrong_with_one_caller_is_no_error_of_another(tmp_path: Path, wrong: str) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        calls = [asyncio.ensure_future(node.run(agent=agent)) for agent in (wrong, "held")]
        await node.claims.asked.wait()
        node.claims.go.set()
        refused, started = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(refused, AgentRequired | AgentNotFound)
        assert isinstance(started, tuple)
        assert started[1] == DISPOSITION_STARTED


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
