"""The checker's rules about tasks: I4 and I5. Pure, as checker.py, which puts them together."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from robustness.chaos.validate.evidence import Evidence
from robustness.chaos.validate.violation import Violation

TASK_ENDS = frozenset({"task_committed", "task_failed", "task_cancelled"})


def at_most_one_run(evidence: Evidence) -> Iterator[Violation]:
    """I4: one run of a task key (and of a session's turn) at a time, one result. (That no run works on after a later
    one began is I1.)

    A second run, or a second result, needs a reason: the first run's node had to give its claim up, or was killed.
    With a durable store there is no reason for a second result.
    """
    for subject, lines in evidence.lines_by_subject().items():
        results = [line for line in lines if line.event == "task_committed"]
        for first, second in pairwise(results):
            if evidence.is_durable(subject) or first.epoch == second.epoch:
                yield Violation("I4", subject, f"results of epoch {first.epoch} and of {second.epoch}")
    for subject, calls in evidence.calls_by_subject().items():
        by_run: dict[tuple[str, int], set[str]] = defaultdict(set)
        for call in calls:
            if call.ok and call.result:
                by_run[call.turn, 0 if evidence.is_durable(subject) else call.end_epoch].add(call.result)
        for different in by_run.values():
            if len(different) > 1:
                yield Violation("I4", subject, f"callers were told {' and '.join(sorted(different))}")


def what_callers_got_is_stored(evidence: Evidence) -> Iterator[Violation]:
    """I4, I5: a task's end that a client was told is the one that the store has, of the run that had the task last; no
    run of a task begins after its end; and the store has counted every run that began."""
    stored = {row.subject: row for row in evidence.ended_tasks}
    for subject, lines in evidence.lines_by_subject().items():
        if not subject.startswith("task/") or not evidence.is_durable(subject):
            continue
        begun = [line for line in lines if line.event == "task_started" and line.commit is not None]
        ended = [line for line in lines if line.event in TASK_ENDS and line.commit is not None]
        for end in ended:
            late = [line for line in begun if (line.commit or 0) > (end.commit or 0)]
            if late and end.event == "task_committed":
                yield Violation("I4", subject, f"a run of epoch {late[0].epoch} began after the end of {end.epoch}")
        row = stored.get(subject)
        # There may be fewer lines than runs: a node is killed before it writes one.
        if row is not None and row.attempt < len(begun):
            yield Violation("I4", subject, f"{len(begun)} runs began, the store has counted {row.attempt}")
        if row is not None and ended and row.epoch != ended[-1].epoch:
            yield Violation("I4", subject, f"the store has the end of epoch {row.epoch}, not {ended[-1].epoch}")
        if row is not None and row.end_epoch != row.epoch:
            yield Violation("I4", subject, f"epoch {row.end_epoch} has written the end, and {row.epoch} had the task")
    for subject, calls in evidence.calls_by_subject().items():
        results = {call.result for call in calls if call.ok}
        if not subject.startswith("task/") or not evidence.ended_tasks or not results:
            continue
        if subject not in stored:
            yield Violation("I5", subject, "clients got an end that the store does not have")
        elif results != {stored[subject].result}:
            yield Violation("I4", subject, f"clients got {sorted(results)}, stored is {stored[subject].result!r}")


def what_was_left_is_taken_up(evidence: Evidence) -> Iterator[Violation]:
    """I5: a task that was accepted ends. (At the end of a run everything is stopped, so the faults look for those that
    do not end, once all that would have to has had its time.)"""
    for subject in sorted(evidence.never_ended):
        yield Violation("I5", subject, "it was accepted and has never ended")
