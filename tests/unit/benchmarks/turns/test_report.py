"""The tables at the end of the bench of turns."""

from pathlib import Path

import pytest

from benchmarks.turns.loads import LOADS
from benchmarks.turns.measure import Sample
from benchmarks.turns.report import print_checkout, print_load
from benchmarks.turns.systems import YARDSTICK, System

_SYSTEMS = (System(YARDSTICK), System("sqlite", "sqlite"), System("sqlite@before", "sqlite", source=Path("/before")))


def _sample(system: str, turns_per_s: float, cpu_ms: float, load: str = "run-turn-1") -> Sample:
    return Sample(system, load, turns_per_s, cpu_ms, {"node": cpu_ms}, p50_ms=2.0, p99_ms=5.0, fsync_ms=0.5)


def _row(printed: str, *starts: str) -> list[str]:
    rows = ([cell.strip() for cell in line.strip("│ ").split("│")] for line in printed.splitlines() if "│" in line)
    return next(row for row in rows if tuple(row[: len(starts)]) == starts)


def test_every_number_stands_beside_the_yardsticks(capsys: pytest.CaptureFixture[str]) -> None:
    samples = [_sample(YARDSTICK, 1000.0, 0.5), _sample("sqlite", 500.0, 0.75)]

    print_load(LOADS["run-turn-1"], _SYSTEMS, samples)

    printed = capsys.readouterr().out
    cells = _row(printed, "sqlite")
    assert cells[1:9] == ["500", "0.50", "0.750", "1.50", "node 0.75", "2.00", "1.00", "5.00"]
    assert cells[9] == "2.5"
    assert "an fsync took 0.50 to 0.50 ms" in printed


def test_a_run_that_failed_says_why_beside_those_that_did_not(capsys: pytest.CaptureFixture[str]) -> None:
    failed = Sample("sqlite", "run-turn-1", failure="1 failed, the first: [Errno 2]")

    print_load(LOADS["run-turn-1"], _SYSTEMS, [failed, _sample("sqlite", 500.0, 0.75)])

    printed = capsys.readouterr().out
    assert _row(printed, "sqlite")[1] == "500"
    assert "sqlite failed: 1 failed, the first: [Errno 2]" in printed


def test_what_has_changed_since_another_checkout_has_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    samples = [_sample("sqlite@before", 100.0, 4.0), _sample("sqlite", 500.0, 1.0), _sample(YARDSTICK, 1000.0, 0.5)]
    samples += [_sample("sqlite", 400.0, 1.0, "run-turn-64")]

    print_checkout("before", [LOADS["run-turn-1"], LOADS["run-turn-64"]], _SYSTEMS, samples)

    printed = capsys.readouterr().out
    assert _row(printed, "run-turn-1", "sqlite")[2:8] == ["100", "500", "5.00", "4.000", "1.000", "0.25"]
    assert "run-turn-64" not in printed
