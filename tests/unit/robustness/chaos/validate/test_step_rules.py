"""The checker's rules about the steps of runs, red and green, on histories made by hand."""

import pytest

from robustness.chaos.validate.checker import check
from robustness.chaos.validate.evidence import Call, Evidence, Line, Mark

MS = 1_000_000
S = "session/default/s"
KILLED = Mark(5 * MS, "killed", "n1")
CLAIMED = [("claimed", 10, ""), ("turn_started", 10, ""), ("step_begun", 10, "")]
AFTERWARDS = [("claimed", 20, ""), ("turn_started", 20, "")]

History = list[tuple[str, int, str]]
"""What, under which epoch, and the state of what was recorded: n1 has epochs below 20, n2 the others. A step's."""


def broken(history: History, *, durable: bool = True, reason: str = "") -> list[str]:
    lines = []
    for number, (event, epoch, state) in enumerate(history):
        node = "n1" if epoch < 20 else "n2"
        step = "abc" if event.startswith("step_") else ""
        commit = None if event in ("claimed", "step_begun") else number
        t_ns = (number if epoch < 20 else 10 + number) * MS
        lines.append(Line(t_ns, node, int(node[1:]), event, S, epoch, "t", commit, step, state))
    calls = [Call("c", S, "t", "r1", 0, reason=reason)] if reason else []
    return [each.rule for each in check(Evidence(lines, calls, [KILLED], durable=durable))]


def test_a_step_that_was_cut_off_runs_again_under_the_next_epoch() -> None:
    assert broken([*CLAIMED, *AFTERWARDS, ("step_begun", 20, ""), ("step_recorded", 20, "COMPLETED")]) == []


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELLED", "UNKNOWN"])
def test_one_that_has_an_outcome_neither_begins_again_nor_has_another_one(state: str) -> None:
    recorded = [*CLAIMED, ("step_recorded", 10, state), *AFTERWARDS]
    assert broken(recorded) == []
    assert broken([*recorded, ("step_begun", 20, "")]) == ["S1"]
    assert broken([*recorded, ("step_recorded", 20, "COMPLETED")]) == ["S1"]


def test_the_pieces_that_a_stream_had_come_to_are_no_outcome() -> None:
    noted = [*CLAIMED, ("step_recorded", 10, "NOTED"), *AFTERWARDS, ("step_begun", 20, "")]
    assert broken([*noted, ("step_recorded", 20, "COMPLETED")]) == []


def test_a_cancellation_that_came_after_the_outcome_is_of_the_same_epoch() -> None:
    assert broken([*CLAIMED, ("step_recorded", 10, "COMPLETED"), ("step_recorded", 10, "CANCELLED")]) == []


def test_one_that_must_not_run_twice_is_begun_once() -> None:
    started = [*CLAIMED[:2], ("step_recorded", 10, "STARTED"), CLAIMED[2], *AFTERWARDS]
    assert broken([*started, ("step_recorded", 20, "UNKNOWN")]) == []
    assert broken([*started, ("step_begun", 20, "")]) == ["S2"]
    cut_off_before = [*CLAIMED[:2], ("step_recorded", 10, "STARTED"), *AFTERWARDS, ("step_begun", 20, "")]
    assert broken(cut_off_before) == []


def test_an_epoch_begins_a_step_once() -> None:
    assert broken([*CLAIMED, ("step_begun", 10, "")]) == ["S2"]


def test_nothing_is_recorded_after_the_end_of_the_run() -> None:
    assert broken([*CLAIMED, ("step_recorded", 10, "COMPLETED"), ("turn_committed", 10, "")]) == []
    assert broken([*CLAIMED, ("turn_committed", 10, ""), ("step_recorded", 10, "COMPLETED")]) == ["S3"]


def test_nothing_of_an_epoch_is_recorded_after_a_later_one() -> None:
    assert broken([*CLAIMED, *AFTERWARDS, ("step_recorded", 10, "COMPLETED")]) == ["I1"]


@pytest.mark.parametrize("reason", ["turn_failed STEP_DIVERGED", "turn_failed STEP_CORRUPT"])
def test_no_run_of_the_traffic_fails_because_of_its_steps(reason: str) -> None:
    assert broken(CLAIMED, reason=reason) == ["S1"]
    assert broken(CLAIMED, reason="turn_failed AGENT_ERROR") == []


def test_a_volatile_store_s_steps_end_with_their_node() -> None:
    again = [*CLAIMED, ("step_recorded", 10, "COMPLETED"), *AFTERWARDS, ("step_begun", 20, "")]
    assert broken(again, durable=False) == []
