"""The checker's rules for tasks: one result, and the end that the store has."""

from chaos_histories import T, call, line, rules
from robustness.chaos.validate.checker import check
from robustness.chaos.validate.evidence import Call, Evidence, Line, StoredEnd


def test_two_results_of_one_run_break_i4() -> None:
    assert rules(line(0, "task_committed", 10), line(1, "task_committed", 10)) == ["I4"]


def test_a_second_result_breaks_i4_where_the_first_was_durable() -> None:
    lines = (line(0, "task_committed", 10), line(9, "task_committed", 20, node="n2"))
    assert rules(*lines, durable=True) == []
    assert rules(*lines, durable_tasks=True) == ["I4"]


def test_a_run_that_works_on_after_a_later_one_began_breaks_i1() -> None:
    assert rules(line(0, "task_started", 10), line(5, "task_started", 20, node="n2"), line(6, "task_failed", 10)) == [
        "I1"
    ]


def test_callers_of_one_run_who_were_told_different_results_break_i4() -> None:
    one, other = (call(0, 1, 10, subject=T, result=result, turn="-") for result in ("x", "y"))
    assert rules(calls=(one, one)) == []
    assert rules(calls=(one, other)) == ["I4"]


def test_a_caller_who_was_brought_to_the_next_run_may_be_told_its_result_unless_the_first_was_kept() -> None:
    one = call(0, 1, 10, subject=T, result="x", turn="-")
    moved = call(0, 1, 10, subject=T, result="y", turn="-", end_epoch=20)
    assert rules(calls=(one, moved)) == []
    assert rules(calls=(one, moved), durable_tasks=True) == ["I4"]


def task_rules(*lines: Line, row: StoredEnd | None, calls: tuple[Call, ...] = ()) -> list[str]:
    evidence = Evidence(list(lines), list(calls), durable_tasks=True, ended_tasks=[row] if row else [])
    return [violation.rule for violation in check(evidence)]


def test_a_tasks_runs_and_its_end_are_those_that_the_store_has() -> None:
    first, second = line(1, "task_started", 5, commit=2), line(2, "task_started", 6, commit=3)
    end = line(3, "task_committed", 6, commit=4)
    assert task_rules(first, second, end, row=StoredEnd(T, 2, 6, 6)) == []
    assert task_rules(second, end, row=StoredEnd(T, 2, 6, 6)) == []  # killed before it wrote the first line
    assert task_rules(first, second, end, row=StoredEnd(T, 1, 6, 6)) == ["I4"]
    assert task_rules(first, second, end, row=StoredEnd(T, 2, 5, 5)) == ["I4"]
    late = line(4, "task_started", 7, commit=5)
    assert task_rules(second, end, late, row=StoredEnd(T, 2, 6, 6)) == ["I4"]


def test_an_end_that_clients_were_told_must_be_in_the_store() -> None:
    received = call(1, 2, 5, result="x", subject=T)
    other = StoredEnd("task/default/other", 1, 5, 5)
    assert task_rules(row=StoredEnd(T, 1, 5, 5, "x"), calls=(received,)) == []
    assert task_rules(row=other, calls=(received,)) == ["I5"]
    assert task_rules(row=StoredEnd(T, 1, 5, 5, "y"), calls=(received,)) == ["I4"]


def test_an_end_must_be_of_the_run_that_had_the_task_last() -> None:
    assert task_rules(line(1, "task_started", 6, commit=2), row=StoredEnd(T, 1, 6, 5)) == ["I4"]


def test_a_task_that_was_accepted_must_end() -> None:
    assert [each.rule for each in check(Evidence([], never_ended={T}))] == ["I5"]


def test_an_ended_task_is_told_again_by_any_node_under_its_runs_epoch() -> None:
    first, again = call(1, 2, 5, result="x", subject=T), call(9, 10, 5, node="n2", result="x", subject=T)
    assert rules(calls=(first, again)) == ["I2"]
    again.replayed = True
    assert rules(calls=(first, again)) == []
