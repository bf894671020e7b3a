"""A whole load run against a scripted server: what is wrong with an answer must be in the report, and nothing else."""

import asyncio
import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from agentring.cli.local.cluster_file import ClusterFile
from benchmarks.load.plan import Plan, Rpc
from benchmarks.load.report import Report
from benchmarks.load.run import run_load
from harness.load_targets import (
    BARE_ERROR,
    END,
    ERROR,
    ERROR_BEHIND,
    FAIL,
    GAP,
    GO_AWAY,
    GOOD,
    MOVE,
    REJECT,
    SILENCE,
    WRONG_BYTES,
    WRONG_TOKENS,
    FakeService,
    serving,
)

REPOSITORY = Path(__file__).parents[3]


async def run(service: FakeService, plan: Plan, may_move: bool = False) -> Report:
    async with serving(service) as address:
        return await run_load(plan, [address], channels=2, console=Console(file=io.StringIO()), may_move=may_move)


def errors(report: Report) -> dict[tuple[str, str], int]:
    return {(error.kind, error.reason): error.count for error in report.errors}


@pytest.mark.parametrize("rpc", list(Rpc))
@pytest.mark.parametrize("rate", [None, 500.0])
async def test_good_answers_are_ok(rpc: Rpc, rate: float | None) -> None:
    service = FakeService()
    report = await run(service, Plan(sessions=6, concurrency=4, turns=5, tokens=10, rpc=rpc, rate=rate))
    assert report.errors == []
    assert report.ok
    assert (report.turns_planned, report.turns_started, report.turns_completed, report.turns_failed) == (30, 30, 30, 0)
    assert report.sessions_per_node == {"n1": 6}
    assert (report.stickiness.violations, report.stickiness.sessions_moved) == (0, 0)
    assert report.turn_ms.count == report.first_event_ms.count == report.first_text_ms.count == 30
    assert report.events == 30 * 5 + (6 if rpc is Rpc.CONVERSE else 0)
    assert len(service.opened) == (6 if rpc is Rpc.CONVERSE else 30)
    assert len(set(service.turn_ids)) == 5


@pytest.mark.parametrize("rpc", list(Rpc))
@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (GAP, "check", "SEQ_GAP"),
        (WRONG_BYTES, "check", "TEXT_BYTES_WRONG"),
        (WRONG_TOKENS, "check", "TOKENS_WRONG"),
        (ERROR, "rpc", "NODE_OVERLOADED"),
        (BARE_ERROR, "grpc", "UNAVAILABLE"),
        (FAIL, "turn_failed", "AGENT_ERROR"),
        (REJECT, "turn_rejected", "MAILBOX_FULL"),
        (END, "client", "STREAM_ENDED_EARLY"),
    ],
)
async def test_what_is_wrong_is_told_and_the_session_goes_on(rpc: Rpc, step: str, kind: str, reason: str) -> None:
    report = await run(FakeService(script=(GOOD, step, GOOD)), Plan(sessions=3, concurrency=3, turns=4, rpc=rpc))
    assert errors(report) == {(kind, reason): 3}
    assert (report.turns_completed, report.turns_failed) == (9, 3)
    assert not report.ok


async def test_why_an_idle_stream_failed_is_told_by_the_next_turn() -> None:
    # A fifth of a second lies between the turns; a write on the dead stream would be told as INTERNAL.
    plan = Plan(sessions=1, concurrency=1, turns=3, rate=5.0)
    report = await run(FakeService(script=(ERROR_BEHIND, GOOD)), plan)
    assert errors(report) == {("rpc", "NODE_OVERLOADED"): 1}
    assert (report.turns_completed, report.turns_failed) == (2, 1)


@pytest.mark.parametrize("rpc", list(Rpc))
async def test_a_session_that_moves_is_counted(rpc: Rpc) -> None:
    # There and, with the next turn, back to the first node and its lower epoch.
    report = await run(FakeService(script=(GOOD, MOVE, GOOD)), Plan(sessions=2, concurrency=2, turns=3, rpc=rpc))
    assert (report.stickiness.violations, report.stickiness.sessions_moved) == (4, 2)
    assert errors(report) == {("check", "SESSION_MOVED"): 2, ("check", "EPOCH_WENT_BACK"): 2}
    assert not report.ok


async def test_moves_may_be_allowed_but_not_backwards() -> None:
    forth = await run(FakeService(script=(GOOD, MOVE)), Plan(sessions=2, concurrency=2, turns=2), may_move=True)
    assert forth.stickiness.violations == 2
    assert forth.ok
    back = await run(FakeService(script=(MOVE, GOOD)), Plan(sessions=2, concurrency=2, turns=2), may_move=True)
    assert errors(back) == {("check", "EPOCH_WENT_BACK"): 2}


@pytest.mark.parametrize("rpc", list(Rpc))
async def test_a_silent_server_ends_the_turn_at_its_time_out(rpc: Rpc) -> None:
    plan = Plan(sessions=1, concurrency=1, turns=2, rpc=rpc, turn_timeout_s=0.3)
    report = await run(FakeService(script=(SILENCE, GOOD)), plan)
    assert errors(report) == {("client", "TURN_TIMEOUT"): 1}
    assert (report.turns_completed, report.turns_failed) == (1, 1)
    assert report.turn_ms.count == 2
    assert report.turn_ms.max is not None
    assert report.turn_ms.max >= 300


async def test_a_router_that_stops_is_left_for_another_stream() -> None:
    service = FakeService(script=(GO_AWAY, GOOD))
    report = await run(service, Plan(sessions=1, concurrency=1, turns=3))
    assert report.ok
    assert len(service.opened) == 2


async def test_the_duration_bounds_the_run() -> None:
    # Due far beyond the end: only the first turn is sent.
    plan = Plan(sessions=1, concurrency=1, turns=5, rate=0.001, duration_s=0.2)
    report = await run(FakeService(), plan)
    assert errors(report) == {("client", "TURN_NOT_STARTED"): 4}
    assert report.turns_completed == 1
    assert not report.ok


async def test_turns_without_number_end_with_the_duration_and_are_ok() -> None:
    report = await run(FakeService(), Plan(sessions=2, concurrency=2, turns=0, duration_s=0.2))
    assert report.ok
    assert report.turns_planned is None
    assert report.turns_completed == report.turns_started > 0


async def load(*arguments: str) -> tuple[int | None, str, str]:
    """Exit status, stdout and stderr of the command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.load",
        *arguments,
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_command_writes_json_alone_and_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "run.png"
    async with serving(FakeService()) as one, serving(FakeService(node="n2")) as two:
        arguments = ["--sessions", "4", "--turns", "2", "--channels", "1", "--json", "--plot", str(picture)]
        status, out, err = await load("--router", one, "--router", two, *arguments)
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["ok"] is True
    assert report["sessions_per_node"] == {"n1": 2, "n2": 2}
    assert picture.read_bytes().startswith(b"\x89PNG")


async def test_the_command_finds_the_router_and_fails_with_errors(tmp_path: Path) -> None:
    async with serving(FakeService(script=(GOOD, ERROR))) as address:
        ClusterFile((address,), (), "memory:", (), ()).write(tmp_path / "cluster.json")
        status, out, _ = await load("--data-dir", str(tmp_path), "--sessions", "2", "--turns", "2")
    assert status == 1
    assert "NODE_OVERLOADED" in out
    assert "not corrected for coordinated omission" in " ".join(out.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sessions", "0"],
        ["--rate", "0"],
        ["--turn-timeout-s", "-1"],
        ["--turns", "0", "--sessions", "5", "--concurrency", "2"],
        ["--session-prefix", "no spaces"],
        ["--rpc", "carrier-pigeon"],
        ["--plot", "/nonexistent/directory/run.png"],
    ],
)
async def test_arguments_that_cannot_be_meant(arguments: list[str]) -> None:
    status, out, err = await load("--router", "127.0.0.1:1", *arguments)
    assert (status, out) == (2, "")
    assert "Error" in err
