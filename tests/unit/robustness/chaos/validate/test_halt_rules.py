"""The checker's rule about halts, red and green, on histories made by hand."""

import pytest

from robustness.chaos.validate.checker import check
from robustness.chaos.validate.evidence import Evidence, Line, Mark
from robustness.chaos.validate.halt_rules import HALTED, RESUMED, STOPS_WITHIN_NS

CONFIRMED = Mark(1_000, HALTED, "n1")
LATE_NS = CONFIRMED.t_ns + STOPS_WITHIN_NS + 1


def broken(event: str, t_ns: int, *more: Mark, node: str = "n1") -> list[str]:
    line = Line(t_ns, node, 1, event, "session/default/s", 10, "t")
    found = check(Evidence([line], marks=[CONFIRMED, *more]))
    return [each.rule for each in found if each.rule == "halt"]


@pytest.mark.parametrize("event", ["turn_started", "task_started", "tool_started", "step_begun", "once_started"])
def test_what_starts_later_than_half_a_second_after_the_node_has_confirmed_is_found(event: str) -> None:
    assert broken(event, LATE_NS) == ["halt"]
    assert broken(event, LATE_NS, Mark(LATE_NS + 1, RESUMED)) == ["halt"]
    assert broken(event, LATE_NS - 1) == []
    assert broken(event, LATE_NS, node="n2") == []


def test_what_ends_and_what_starts_once_it_is_resumed_is_well() -> None:
    assert broken("turn_cancelled", LATE_NS) == []
    assert broken("turn_started", LATE_NS, Mark(LATE_NS, RESUMED)) == []


def test_a_resume_ends_no_halt_that_came_after_it() -> None:
    assert broken("turn_started", LATE_NS, Mark(CONFIRMED.t_ns - 1, RESUMED)) == ["halt"]
