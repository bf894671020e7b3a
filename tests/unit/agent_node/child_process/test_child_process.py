"""Runs in processes of their own: as on the node in all that they may do, and alone in what they end."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentring.agent import OnceFailed, OnceTimeout, OnceUnknown
from agentring.errors import (
    CoordinatorUnavailable,
    InvalidTaskKey,
    NodeFenced,
    NodeOverloaded,
    StaleEpoch,
    StoreUnavailable,
    TaskCycle,
)
from agentring.process.forks import EXIT_FORKED_CHILD
from harness.child_program import ends_by
from harness.cluster import AGENTS_PATH
from harness.ending import WAYS

PATIENCE_S = 60.0
PROGRAM = [sys.executable, "-m", "harness.child_program"]
ENV = {**os.environ, "PYTHONPATH": AGENTS_PATH}
Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcomes, str]:
    """How every run ended, and the program's log."""
    done = subprocess.run([*PROGRAM, "all"], env=ENV, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(line) for line in done.stdout.splitlines()), done.stderr


@pytest.fixture
def outcomes(ran: tuple[Outcomes, str]) -> Outcomes:
    return ran[0]


@pytest.mark.parametrize(("end", "way"), [(end, way) for way in WAYS for end in ends_by(way)])
def test_what_ends_or_blocks_its_process_fails_its_run_alone(outcomes: Outcomes, end: str, way: str) -> None:
    outcome = outcomes[f"{end} {way}"]
    assert outcome["reason"] == ("AGENT_BLOCKED" if end == "blocks" else "AGENT_ENDED_NODE")
    assert outcome["text"] == "begun "


@pytest.mark.parametrize(("end", "reason"), [("exits", "AGENT_ENDED_NODE"), ("blocks", "AGENT_BLOCKED")])
def test_a_task_and_a_step_likewise(outcomes: Outcomes, end: str, reason: str) -> None:
    assert outcomes[f"{end} as a task"]["reason"] == reason
    outcome = outcomes[f"{end} in a step"]
    assert (outcome["reason"], outcome["steps"]) == (reason, [["k", "AGENT_ENDED_NODE"]])


@pytest.mark.parametrize(("end", "reason"), [("is killed", "AGENT_ENDED_NODE"), ("blocks", "AGENT_BLOCKED")])
def test_a_tool_that_was_called_there_is_shown_as_cut_off_once(outcomes: Outcomes, end: str, reason: str) -> None:
    outcome = outcomes[f"{end} in a tool"]
    assert (outcome["reason"], outcome["tools"]) == (reason, [["look_up", "TOOL_CANCELLED"]])
    assert outcome["events"] == ["text_delta", "tool_call", "tool_result"]


def test_a_step_that_must_not_run_twice_is_not_known_to_have_failed(outcomes: Outcomes) -> None:
    outcome = outcomes["exits in a step that must not run twice"]
    assert (outcome["reason"], outcome["steps"]) == ("AGENT_ENDED_NODE", [["k", "CancelledError"]])


def test_all_else_is_as_on_the_node(outcomes: Outcomes) -> None:
    assert outcomes["everything"] == outcomes["everything as on the node"]
    assert outcomes["everything"]["said"] == "Grüße 🎉"
    steps = [["inner", "done"], ["outer", "done"], ["args", "done"], ["failing", "LookupError"]]
    assert outcomes["everything"]["steps"] == steps
    assert outcomes["everything"]["files"] == ["content", "content!"]
    assert "file_output" in outcomes["everything"]["events"]


def test_a_steps_arguments_stay_in_the_child(outcomes: Outcomes) -> None:
    """A lock among them could not be sent to the node."""
    result = json.loads(outcomes["everything"]["result"])
    assert result["args"] == "7 True {'idempotency_key': 'once/args', 'fencing_token': 9}"


def test_an_agent_need_not_wait_for_what_it_asked_for(outcomes: Outcomes) -> None:
    outcome = outcomes["changing_its_mind"]
    assert outcome == outcomes["changing_its_mind as on the node"]
    assert outcome["said"] == "step cut off, timed out, timed out, timed out, quick, yes to now? {}"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raising", "AGENT_ERROR"),
        ("exiting", "AGENT_ERROR"),
        ("late", "TURN_DEADLINE"),
        ("late and stubborn", "TURN_DEADLINE"),
    ],
)
def test_other_failures_are_as_on_the_node(outcomes: Outcomes, name: str, reason: str) -> None:
    assert outcomes[name]["reason"] == reason


def test_every_process_of_a_service_may_be_signalled_to_stop(outcomes: Outcomes) -> None:
    """As systemd does: runs are ended by the node alone. What an agent forks is not of the service's own."""
    assert outcomes["signalled"]["said"] == f"{EXIT_FORKED_CHILD} {-signal.SIGTERM}"


@pytest.mark.parametrize("agent", ["waiting", "stubborn"])
def test_a_run_that_is_cancelled_leaves_no_process(outcomes: Outcomes, agent: str) -> None:
    assert outcomes[f"cancelled {agent}"] == {"cancelled": True, "undone": []}


def test_an_agent_that_is_cancelled_undoes_its_steps(outcomes: Outcomes) -> None:
    assert outcomes["cancelled undoing"] == {"cancelled": True, "undone": ["undone"]}


def test_the_log_says_whose_run_it_was_and_where_it_stood(ran: tuple[Outcomes, str]) -> None:
    lines = [json.loads(line) for line in ran[1].splitlines() if line.startswith("{")]
    for event in ("agent_ended_its_process", "agent_blocked_its_process", "agent_would_end_its_node"):
        found = [line for line in lines if line["event"] == event]
        assert found
        assert all(line["agent"] and line["attempt"] == 2 and ("task" in line or "session" in line) for line in found)
    assert "harness/ending.py" in ran[1]  # faulthandler's lines


def test_the_agents_log_has_its_fields_in_both(ran: tuple[Outcomes, str]) -> None:
    lines = [json.loads(line) for line in ran[1].splitlines() if line.startswith("{")]
    child, node = [line for line in lines if line["event"] == "noted"]
    names = {"tenant", "session", "agent", "turn", "attempt", "city", "level"}
    assert {name: child[name] for name in names} == {name: node[name] for name in names}
    assert child["city"] == "Oslo"


def test_what_an_agent_needs_is_opened_and_closed_in_the_child(ran: tuple[Outcomes, str]) -> None:
    assert ran[0]["pooling"]["said"] == "True its settings its settings"
    lines = [json.loads(line) for line in ran[1].splitlines() if line.startswith("{")]
    closed = [line for line in lines if line["event"] == "printed" and line["text"].startswith("closed in ")]
    assert [line["agent"] for line in closed] == ["pooling"]


def test_where_it_cannot_be_opened_the_run_fails_and_the_log_says_why(ran: tuple[Outcomes, str]) -> None:
    assert ran[0]["unopened"]["reason"] == "AGENT_ERROR"
    assert ran[0]["unopened"]["text"] == ""
    lines = [json.loads(line) for line in ran[1].splitlines() if line.startswith("{")]
    (failed,) = [line for line in lines if line["event"] == "agent_failed" and line.get("agent") == "unopened"]
    assert failed["why"].startswith("agent 'unopened' cannot be opened: its lifespan raised ValueError (")
    assert (failed["session"], failed["turn"]) == ("s", "t")


Program = tuple["subprocess.Popen[str]", list[int]]


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Iterator[Program]:
    """A program with a run in a child process; and the processes of the run, and of those who forked it."""
    with subprocess.Popen(
        [*PROGRAM, getattr(request, "param", "held")],
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        assert program.stdout is not None
        yield program, json.loads(program.stdout.readline())
        program.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_node_that_is_killed(held: Program, number: signal.Signals) -> None:
    program, pids = held
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    program.send_signal(number)
    program.wait(PATIENCE_S)
    wait_until_ended(pids)


@pytest.mark.parametrize("held", ["held", "blocked"], indirect=True)
def test_nothing_outlives_the_lease_of_a_node_that_stands_still(held: Program) -> None:
    program, (pid, _) = held
    program.send_signal(signal.SIGSTOP)
    wait_until_ended([pid])


@pytest.mark.parametrize("held", ["held", "blocked"], indirect=True)
def test_nothing_outlives_those_who_forked_it_nor_is_it_to_blame(held: Program) -> None:
    program, (pid, forker) = held
    os.kill(forker, signal.SIGKILL)
    wait_until_ended([pid])
    assert program.stdout is not None
    assert json.loads(program.stdout.readline()) == "SessionMoving"


def test_a_run_that_was_ended_with_the_lease_has_not_ended_its_process() -> None:
    late = subprocess.run([*PROGRAM, "late"], env=ENV, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    pids, ended_as = (json.loads(line) for line in late.stdout.splitlines())
    assert not _lives(pids[0])
    assert ended_as == "NodeFenced"
    assert "agent_ended_its_process" not in late.stderr


def wait_until_ended(pids: list[int]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < deadline_s, pids
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    "error",
    [
        OnceFailed("k", "LookupError", "no such account"),
        OnceUnknown("k"),
        OnceTimeout("k", 60.0),
        TaskCycle(),
        InvalidTaskKey(),
        NodeFenced(),
        NodeOverloaded(),
        StaleEpoch(),
        CoordinatorUnavailable(),
        StoreUnavailable(),
    ],
    ids=repr,
)
def test_what_a_step_or_a_tool_raises_is_the_same_in_the_child(error: Exception) -> None:
    unpickled = pickle.loads(pickle.dumps(error))
    assert (type(unpickled), str(unpickled), vars(unpickled)) == (type(error), str(error), vars(error))
