"""What counts as moved away from a node: what it held, not what had ended there."""

from robustness.chaos.faults.fault import moved_from
from robustness.chaos.validate.evidence import Line

SESSION, TASK, ONCE = "session/default/s", "task/default/t", "once/default/o"
CUT_NS = 10


def line(t_ns: int, node: str, event: str, subject: str) -> Line:
    return Line(t_ns, node, 1, event, subject)


def test_what_was_held_and_is_claimed_elsewhere_has_moved() -> None:
    lines = [line(1, "n1", "claimed", subject) for subject in (SESSION, TASK, ONCE)]
    lines += [line(20, "n2", "claimed", subject) for subject in (SESSION, TASK, ONCE)]
    assert moved_from("n1", CUT_NS, lines) == [SESSION, TASK, ONCE]
    assert moved_from("n2", CUT_NS, lines) == []


def test_tasks_and_steps_that_ended_have_not_moved() -> None:
    for released_ns in (5, 15):
        lines = [line(1, "n1", "claimed", subject) for subject in (TASK, ONCE)]
        lines += [line(released_ns, "n1", "released", subject) for subject in (TASK, ONCE)]
        lines += [line(20, "n2", "claimed", subject) for subject in (TASK, ONCE)]
        assert moved_from("n1", CUT_NS, lines) == []


def test_a_session_that_was_given_up_meanwhile_has_moved() -> None:
    taken = line(20, "n2", "claimed", SESSION)
    held = line(1, "n1", "claimed", SESSION)
    assert moved_from("n1", CUT_NS, [held, line(15, "n1", "released", SESSION), taken]) == [SESSION]
    assert moved_from("n1", CUT_NS, [held, line(5, "n1", "released", SESSION), taken]) == []


def test_what_another_node_had_already_has_not_moved() -> None:
    lines = [line(1, "n1", "claimed", SESSION), line(5, "n2", "claimed", SESSION), line(20, "n3", "claimed", SESSION)]
    assert moved_from("n1", CUT_NS, lines) == []
