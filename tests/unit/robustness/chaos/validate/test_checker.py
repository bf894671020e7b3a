"""Every rule of the checker for sessions, red and green, on histories made by hand."""

import json
from pathlib import Path

from chaos_histories import FIRST, HANDED_OVER, MS, S, call, line, rules
from robustness.chaos.validate.checker import ANSWERS
from robustness.chaos.validate.evidence import Line, Mark, StoredRow, read_lines
from robustness.chaos.validate.poison_rules import ENDED_ITSELF


def test_a_session_that_moves_after_its_release_is_as_it_should_be() -> None:
    assert rules(*FIRST, line(3, "turn_committed", 10, turn="a"), *HANDED_OVER) == []


def test_a_turn_that_is_committed_after_a_later_claim_breaks_i1() -> None:
    assert rules(*FIRST, *HANDED_OVER, line(70, "turn_committed", 10, turn="a")) == ["I1"]


def test_a_tool_that_is_started_after_a_later_claim_breaks_i1() -> None:
    assert rules(*FIRST, *HANDED_OVER, line(70, "tool_started", 10, turn="a")) == ["I1"]


def test_a_late_line_of_a_claim_or_release_is_no_work() -> None:
    assert rules(*FIRST, *HANDED_OVER, line(70, "released", 10)) == []


def test_the_stores_order_acquits_a_line_that_was_written_late() -> None:
    late = line(70, "turn_committed", 10, turn="a", commit=1)
    later = line(65, "turn_committed", 20, node="n2", commit=2, turn="b")
    assert rules(*FIRST, *HANDED_OVER, late, later, durable=True) == []
    assert rules(*FIRST, *HANDED_OVER, late, later) == ["I1"], "each node's memory counts for itself"


def test_the_stores_order_convicts_whatever_the_time_says() -> None:
    late = line(40, "turn_committed", 10, turn="a", commit=3)
    later = line(65, "turn_committed", 20, node="n2", commit=2, turn="b")
    assert rules(*FIRST, *HANDED_OVER, late, later, durable=True) == ["I1"]


def test_an_answer_of_an_earlier_epoch_after_a_later_one_was_seen_breaks_i1() -> None:
    first, stale = call(100, 101, 20, node="n2"), call(102, 103, 10)
    assert rules(calls=(first, stale)) == [ANSWERS]
    assert rules(calls=(first, call(102, 103, 20, node="n2"))) == []


def test_an_answer_may_cross_with_one_of_a_later_epoch() -> None:
    assert rules(calls=(call(100, 110, 20, node="n2"), call(105, 120, 10))) == []


def test_a_stream_that_goes_back_to_an_earlier_epoch_breaks_i1() -> None:
    answer = call(0, 1, 10)
    answer.event_epochs = (10, 20, 10)
    assert rules(calls=(answer,)) == [ANSWERS]


def test_an_epoch_that_is_claimed_twice_breaks_i2() -> None:
    assert "I2" in rules(line(0, "claimed", 10), line(1, "claimed", 10))


def test_a_claim_below_the_same_nodes_last_one_breaks_i2() -> None:
    assert rules(line(0, "claimed", 10), line(1, "claimed", 9)) == ["I2"]


def test_an_epoch_on_two_nodes_breaks_i2() -> None:
    assert rules(*FIRST, calls=(call(5, 6, 10, node="n2"),)) == ["I2"]


def test_a_turn_that_is_committed_twice_breaks_i2() -> None:
    twice = (line(3, "turn_committed", 10, turn="a"), line(4, "turn_committed", 10, turn="a"))
    assert rules(*FIRST, *twice) == ["I2"]


def test_a_turn_that_ran_again_after_its_node_died_breaks_i2_only_where_it_was_durable() -> None:
    lines = (*FIRST, line(3, "turn_committed", 10, turn="a"), *HANDED_OVER)
    again = line(70, "turn_committed", 20, node="n2", turn="a")
    assert rules(*lines, again) == []
    assert rules(*lines, again, durable=True) == ["I2"]


def test_a_gap_in_the_stores_turns_breaks_i2() -> None:
    first, second, third = (StoredRow(S, number, 10) for number in (1, 2, 3))
    assert rules(completed=(first, second, third)) == []
    assert rules(completed=(first, third)) == ["I2"]


def test_a_turn_that_the_store_has_counted_twice_breaks_i2() -> None:
    rows = (StoredRow(S, 1, 10), StoredRow(S, 2, 20))
    assert rules(completed=rows, counted=2) == []
    assert rules(completed=rows, counted=3) == ["I2"]


def test_a_tool_start_that_the_store_took_from_an_earlier_epoch_breaks_i1() -> None:
    assert rules(tool_starts=(StoredRow(S, 3, 10), StoredRow(S, 5, 20))) == []
    assert rules(tool_starts=(StoredRow(S, 3, 20), StoredRow(S, 5, 10))) == ["I1"]


def test_the_stores_epochs_must_not_go_back() -> None:
    assert rules(completed=(StoredRow(S, 1, 20), StoredRow(S, 2, 10))) == ["I2"]


def test_numbers_that_do_not_follow_each_other_break_i2() -> None:
    assert rules(calls=(call(0, 1, 10, number=1), call(5, 6, 10, number=2))) == []
    assert rules(calls=(call(0, 1, 10, number=1), call(5, 6, 10, number=3))) == ["I2"]
    assert rules(calls=(call(0, 1, 10, number=2), call(5, 6, 10, number=2))) == ["I2"]


def test_a_turn_whose_end_was_not_told_may_have_taken_a_number() -> None:
    untold = call(2, 3, 10, turn="lost")
    assert rules(calls=(call(0, 1, 10, number=1), untold, call(5, 6, 10, number=3))) == []


def test_numbers_start_again_after_a_failover_unless_the_store_is_durable() -> None:
    calls = (call(0, 1, 10, number=7), call(5, 6, 20, node="n2", number=1))
    assert rules(calls=calls) == []
    assert rules(calls=calls, durable=True) == ["I2"]


def test_a_session_that_moves_for_no_reason_breaks_stickiness() -> None:
    assert rules(*FIRST, line(60, "claimed", 20, node="n2")) == ["stickiness"]


def test_a_session_moves_from_a_node_that_drains_is_fenced_or_was_killed() -> None:
    moved = (*FIRST, line(60, "claimed", 20, node="n2"))
    assert rules(*moved, line(50, "drain_started")) == []
    assert rules(*moved, line(90, "fenced")) == []
    assert rules(*moved, marks=(Mark(50 * MS, "killed", "n1"),)) == []


def test_what_is_claimed_in_the_moment_until_a_killed_node_is_dead_moves_too() -> None:
    moved = (*FIRST, line(60, "claimed", 20, node="n2"))
    killed = Mark(-5 * MS, "killed", "n1")
    assert rules(*moved, marks=(killed,)) == ["stickiness"]  # it may have been another incarnation
    assert rules(line(-10, "joined"), *moved, marks=(killed,)) == []
    assert rules(line(-3, "joined"), *moved, marks=(killed,)) == ["stickiness"]


def test_what_happens_to_a_node_later_is_no_reason() -> None:
    moved = (*FIRST, line(60, "claimed", 20, node="n2"))
    assert rules(*moved, line(70, "drain_started")) == ["stickiness"]
    assert rules(*moved, marks=(Mark(70 * MS, "killed", "n1"),)) == ["stickiness"]
    assert rules(*moved, marks=(Mark(50 * MS, "killed", "n2"),)) == ["stickiness"]


def test_lines_are_read_as_the_node_writes_them(tmp_path: Path) -> None:
    fields = {"t_ns": 5, "node": "n1", "incarnation": 7, "event": "turn_committed", "tenant": "default", "session": "s"}
    path = tmp_path / "audit.jsonl"
    path.write_text(json.dumps(fields | {"epoch": 9, "turn": "a", "commit": 3, "later": "field"}) + "\n")
    assert read_lines([path]) == [Line(5, "n1", 7, "turn_committed", S, 9, "a", 3)]


def test_a_run_is_under_way_on_two_nodes_at_most_when_they_end_by_themselves() -> None:
    begun = [line(10 * i, "turn_started", i, node=f"n{i}", turn="t") for i in (1, 2, 3)]
    marks = [Mark((10 * i + 5) * MS, ENDED_ITSELF, f"n{i}") for i in (1, 2, 3)]
    assert rules(*begun, marks=tuple(marks[:2])) == []
    assert rules(*begun, marks=tuple(marks)) == ["poison"]
    ended = line(12, "turn_failed", 1, turn="t")
    assert rules(*begun, ended, marks=tuple(marks)) == []
    killed = tuple(Mark(mark.t_ns, "killed", mark.node) for mark in marks)
    assert rules(*begun, marks=killed) == []
