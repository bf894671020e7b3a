"""The checker's rules about steps that run once, red and green, on histories made by hand."""

import json
from pathlib import Path

import pytest

from robustness.chaos.validate.checker import check
from robustness.chaos.validate.evidence import Call, Evidence, Line, Mark, read_lines

MS = 1_000_000
CLAIMED = [(0, "claimed", 10), (1, "once_started", 10)]
KILLED = Mark(5 * MS, "killed", "n1")

History = list[tuple[int, str, int]]
"""When (ms), what, and under which epoch: n1 has those below 20, n2 the others."""


def broken(history: History, *marks: Mark, durable: bool = True) -> list[str]:
    lines = [
        Line(t_ms * MS, node, int(node[1:]), event, "once/default/k", epoch)
        for t_ms, event, epoch in history
        for node in ["n1" if epoch < 20 else "n2"]
    ]
    return [each.rule for each in check(Evidence(lines, marks=list(marks), durable_tasks=durable))]


AFTERWARDS: History = [(10, "claimed", 20), (11, "once_started", 20), (12, "once_committed", 20)]


@pytest.mark.parametrize("end", ["once_failed", "once_put_back"])
def test_a_step_that_failed_or_was_put_back_may_be_run_again(end: str) -> None:
    assert broken([*CLAIMED, (2, end, 10), (3, "released", 10), *AFTERWARDS]) == []


def test_a_step_whose_node_was_killed_may_be_run_again() -> None:
    assert broken([*CLAIMED, *AFTERWARDS], KILLED) == []


@pytest.mark.parametrize("end", ["once_committed", "once_unknown"])
def test_what_has_a_result_or_is_unknown_is_not_run_again(end: str) -> None:
    history = [*CLAIMED, (2, end, 10), (3, "released", 10)]
    assert broken([*history, *AFTERWARDS]) == ["I4"]
    resolved = [(4, "claimed", 15), (5, "once_resolved", 15), (6, "released", 15)]
    assert broken([*history, *resolved, *AFTERWARDS]) == []


def test_a_volatile_result_ends_with_its_node() -> None:
    assert broken([*CLAIMED, (2, "once_committed", 10), *AFTERWARDS], KILLED, durable=False) == []


def test_a_late_line_is_judged_by_its_epoch() -> None:
    assert broken([*CLAIMED, *AFTERWARDS, (13, "once_committed", 10)], KILLED) == ["I1", "I4"]


def test_two_runs_at_once_are_found() -> None:
    assert "stickiness" in broken([*CLAIMED, *AFTERWARDS])


def test_a_run_that_never_ends_is_found() -> None:
    assert broken([*CLAIMED]) == ["I5"]
    assert broken([*CLAIMED], KILLED) == []


def test_audit_lines_of_steps_are_read(tmp_path: Path) -> None:
    fields = {
        "t_ns": 7,
        "node": "n1",
        "incarnation": 1,
        "event": "once_started",
        "tenant": "a",
        "once": "k",
        "epoch": 3,
    }
    file = tmp_path / "audit"
    file.write_text(json.dumps(fields) + "\n")
    assert read_lines([file]) == [Line(7, "n1", 1, "once_started", "once/a/k", 3)]


@pytest.mark.parametrize(("results", "found"), [(("a", "a"), []), (("a", "b"), ["I4"]), (("a", "unknown"), ["I4"])])
def test_all_who_asked_for_a_step_are_told_the_same(results: tuple[str, ...], found: list[str]) -> None:
    calls = [
        Call("c", f"task/default/{number}", "", "r1", number, ok=True, once="k", once_result=result)
        for number, result in enumerate(results)
    ]
    assert [each.rule for each in check(Evidence([], calls, durable_tasks=True))] == found
    assert check(Evidence([], calls)) == []
