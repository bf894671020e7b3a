"""What the bench of turns is asked for, and what it then runs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.turns import __main__ as bench
from benchmarks.turns.measure import Plan, Sample


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """What would have been run."""
    planned: list[Plan] = []

    async def note(plan: Plan) -> list[Sample]:
        planned.append(plan)
        return []

    monkeypatch.setattr(bench, "_run", note)
    return planned


@pytest.mark.parametrize(
    ("flags", "runs", "seconds", "warm_s"),
    [
        ([], 3, 4.0, 1.5),
        (["--quick"], 1, 1.5, 0.7),
        (["--quick", "--runs", "5", "--seconds", "2", "--warm-s", "0"], 5, 2.0, 0.0),
        (["--profile", "node.prof"], 1, 4.0, 1.5),
    ],
)
def test_quick_is_for_what_nothing_else_is_said_of(
    plans: list[Plan], flags: list[str], runs: int, seconds: float, warm_s: float
) -> None:
    ended = CliRunner().invoke(bench.app, ["--systems", "memory", *flags])

    assert ended.exit_code == 0, ended.output
    assert [(plan.runs, plan.seconds, plan.warm_s) for plan in plans] == [(runs, seconds, warm_s)]


def test_a_checkout_that_is_none_is_refused(plans: list[Plan], tmp_path: Path) -> None:
    ended = CliRunner().invoke(bench.app, ["--systems", "memory@before", "--checkout", f"before={tmp_path}"])

    assert ended.exit_code == 2
    assert plans == []
