"""The report's JSON has its promised shape, and the table says what the latencies mean."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.load.measure import Tally
from benchmarks.load.plan import Plan
from benchmarks.load.plot import write_plot
from benchmarks.load.report import Report, make_report, print_report
from benchmarks.load.turn import Problem, TurnOutcome

PLAN = Plan(sessions=2, concurrency=2, turns=2, tokens=5)


def report(plan: Plan = PLAN, turns: int = 4, problem: Problem | None = None) -> Report:
    """Two seconds of run: a turn every half second, the last with the problem."""
    tally = Tally(start_s=10.0)
    for number in range(turns):
        tally.turn_started()
        started_s = 10.0 + number / 2
        problems = frozenset([problem] if problem and number == turns - 1 else [])
        received = TurnOutcome(started_s, started_s + 0.1, started_s + 0.2, started_s + 0.5, 6, 35, problems)
        tally.turn_ended(received, started_s if plan.open_loop else None)
    tally.session_ended("n2", 0)
    tally.session_ended("n1", 3)
    return make_report(plan, ["127.0.0.1:7700"], tally, cpu_s=0.4)


def table(received: Report) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_report(received, console)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_the_shape_of_the_json() -> None:
    received = json.loads(json.dumps(report().as_json()))
    latencies = {"count": 4, "p50": 500.0, "p90": 500.0, "p99": 500.0, "max": 500.0}
    assert received.pop("plan")["tokens"] == 5
    assert [received["turn_ms"].pop(name) for name in latencies] == pytest.approx(list(latencies.values()), rel=0.001)
    assert received.pop("turn_ms") == {}
    for name in ("first_event_ms", "first_text_ms", "start_delay_ms"):
        assert received.pop(name).keys() == latencies.keys()
    series = received.pop("series")
    assert [second.pop("turn_ms")["count"] for second in series] == [2, 2]
    assert series[0] == {"second": 0, "length_s": 1.0, "completed": 2, "failed": 0, "events": 12}
    assert received == {
        "ok": True,
        "loop": "closed",
        "corrected_for_coordinated_omission": False,
        "routers": ["127.0.0.1:7700"],
        "elapsed_s": 2.0,
        "turns_planned": 4,
        "turns_started": 4,
        "turns_completed": 4,
        "turns_failed": 0,
        "turns_per_s": 2.0,
        "tokens_per_s": 10.0,
        "events": 24,
        "events_per_s": 12.0,
        "text_bytes": 140,
        "errors": [],
        "sessions": 2,
        "sessions_per_node": {"n1": 1, "n2": 1},
        "stickiness": {"violations": 3, "sessions_moved": 1, "allowed": False},
        "generator_cpu": 0.2,
    }


def test_a_problem_is_an_error() -> None:
    received = report(problem=Problem("rpc", "NODE_DRAINING"))
    assert not received.ok
    assert received.as_json()["errors"] == [{"kind": "rpc", "reason": "NODE_DRAINING", "count": 1}]
    assert "rpc │ NODE_DRAINING │ 1" in table(received)


def test_turns_not_started_are_errors() -> None:
    received = report(turns=3)
    assert not received.ok
    assert received.as_json()["errors"] == [{"kind": "client", "reason": "TURN_NOT_STARTED", "count": 1}]


def test_a_run_without_a_turn_is_not_ok() -> None:
    received = report(Plan(turns=0), turns=0)
    assert not received.ok
    assert "failed" in table(received)


def test_the_table_says_which_loop_it_was() -> None:
    closed, opened = report(), report(Plan(sessions=2, concurrency=2, turns=2, tokens=5, rate=2.0))
    assert "closed loop" in table(closed)
    assert "(not corrected for coordinated omission)" in table(closed)
    assert "sent after it was due" not in table(closed)
    assert "open loop, 2 turns/s due on a fixed schedule" in table(opened)
    assert "(corrected for coordinated omission)" in table(opened)
    assert "sent after it was due" in table(opened)


def test_the_table_counts_moves() -> None:
    assert "stickiness violations │ 3 in 1 of 2 sessions" in table(report())


@pytest.mark.parametrize("turns", [0, 1, 4])
def test_a_picture_of_any_run(turns: int, tmp_path: Path) -> None:
    write_plot(report(turns=turns), tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
