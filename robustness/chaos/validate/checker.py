"""Judges what is left of a run by the invariants alone. Pure: evidence in, violations out.

Each rule is a function of its own and says what it takes for a violation; each is shown red and green by
tests/unit/robustness/chaos/validate/test_checker.py. How lines are put in order: those that carry the store's commit
number by that, because a process that was frozen writes its lines late; the others by CLOCK_BOOTTIME. Without commit
numbers (the volatile store) a node that is frozen in the microseconds between a commit and its line would be accused
wrongly.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from robustness.chaos.validate.ends import Ends
from robustness.chaos.validate.evidence import Call, Evidence, Line, StoredRow
from robustness.chaos.validate.halt_rules import nothing_starts_once_halted
from robustness.chaos.validate.once_rules import callers_of_a_step_got_one_result, steps_run_once, what_began_ends
from robustness.chaos.validate.poison_rules import no_run_ends_node_after_node
from robustness.chaos.validate.said_rules import what_was_said_stays
from robustness.chaos.validate.step_rules import (
    a_step_begins_once_an_attempt,
    no_step_is_recorded_after_the_end,
    no_step_with_an_outcome_begins_again,
)
from robustness.chaos.validate.task_rules import at_most_one_run, what_callers_got_is_stored, what_was_left_is_taken_up
from robustness.chaos.validate.violation import Rule, Violation

WORK = frozenset(
    {
        "activated",
        "turn_accepted",
        "turn_started",
        "turn_committed",
        "turn_failed",
        "turn_cancelled",
        "tool_started",
        "step_recorded",
        "storage_written",
        "task_started",
        "task_committed",
        "task_failed",
        "task_cancelled",
        "once_started",
        "once_committed",
        "once_failed",
        "once_unknown",
        "once_put_back",
    }
)
"""What an owner alone may do. (A claim's line may be late: its reply was. A release's too.)"""

ANSWERS = "I1, answers"
"""I1 as clients see it: what a router, too, protects from."""


def check(evidence: Evidence) -> list[Violation]:
    """Every violation of every rule."""
    return [violation for rule in RULES for violation in rule(evidence)]


def no_work_after_a_later_epoch(evidence: Evidence) -> Iterator[Violation]:
    """I1: nothing of an epoch after something of a later epoch of the same session or task."""
    for subject, lines in evidence.lines_by_subject().items():
        # A volatile store counts, too, but each node for itself.
        numbered = [line for line in lines if line.commit is not None and evidence.is_durable(subject)]
        yield from _stale(subject, sorted(numbered, key=lambda line: line.commit or 0), numbered, by_commit=True)
        known = {id(line) for line in numbered}
        others = [line for line in lines if id(line) not in known]
        yield from _stale(subject, lines, others, by_commit=False)
    for subject, rows in _rows(evidence.tool_starts).items():
        for before, after in pairwise(rows):
            if after.epoch < before.epoch:
                yield Violation(
                    "I1", subject, f"the store has a tool start of epoch {after.epoch} after {before.epoch}"
                )


def _stale(subject: str, ordered: list[Line], judged: list[Line], *, by_commit: bool) -> Iterator[Violation]:
    latest: Line | None = None
    suspects = {id(line) for line in judged if line.event in WORK}
    for line in ordered:
        if latest is None or line.epoch > latest.epoch:
            latest = line
        elif line.epoch < latest.epoch and id(line) in suspects:
            yield Violation(
                "I1",
                subject,
                f"{line.event} of epoch {line.epoch} on {line.node} after {latest.event} of epoch {latest.epoch} on "
                f"{latest.node}, {_after(line, latest, by_commit=by_commit)}",
            )


def _after(line: Line, latest: Line, *, by_commit: bool) -> str:
    if by_commit:
        return f"commit {line.commit} after {latest.commit}"
    return f"{(line.t_ns - latest.t_ns) / 1e6:.1f} ms later"


def no_answer_of_an_earlier_epoch(evidence: Evidence) -> Iterator[Violation]:
    """I1, as clients see it: once anybody was answered under an epoch, no call that is sent later is answered under an
    earlier one; and no stream tells of an earlier epoch than it has told of."""
    for subject, calls in evidence.calls_by_subject().items():
        seen: list[tuple[int, int]] = []  # (when, the highest epoch by then)
        for call in sorted((call for call in calls if call.accepted_ns), key=lambda call: call.accepted_ns or 0):
            if not seen or call.epoch > seen[-1][1]:
                seen.append((call.accepted_ns or 0, call.epoch))
        for call in calls:
            before = [epoch for when_ns, epoch in seen if when_ns < call.invoked_ns]
            if call.accepted_ns and before and call.epoch < before[-1]:
                yield Violation(ANSWERS, subject, f"{call.node} answered under epoch {call.epoch} after {before[-1]}")
            if list(call.event_epochs) != sorted(call.event_epochs):
                yield Violation(ANSWERS, subject, f"a stream told of the epochs {call.event_epochs}")


def epochs_only_grow(evidence: Evidence) -> Iterator[Violation]:
    """I2: no epoch is claimed twice; a node's claims of one session or task have ever higher epochs; each epoch is one
    node's."""
    for subject, lines in evidence.lines_by_subject().items():
        claims: dict[int, Line] = {}
        last: dict[str, Line] = {}
        for line in (line for line in lines if line.event == "claimed"):
            if line.epoch in claims:
                yield Violation("I2", subject, f"epoch {line.epoch} was claimed twice")
            claims[line.epoch] = line
            before = last.get(line.node)
            if before is not None and line.epoch < before.epoch:
                yield Violation("I2", subject, f"{line.node} claimed epoch {line.epoch} after {before.epoch}")
            last[line.node] = line
    nodes: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in evidence.lines:
        if line.subject and line.epoch:
            nodes[line.subject, line.epoch].add(line.node)
    for call in evidence.calls:
        if call.accepted_ns and not call.replayed:
            nodes[call.subject, call.epoch].add(call.node)
    for (subject, epoch), names in nodes.items():
        if len(names) > 1:
            yield Violation("I2", subject, f"epoch {epoch} on {' and '.join(sorted(names))}")


def turns_have_no_gap(evidence: Evidence) -> Iterator[Violation]:
    """I2: the store's turns of a session are numbered without a gap and in the order of their epochs, and are as many
    as it has counted; no turn is committed twice; the numbers that a client is told follow each other, but for turns
    whose end it was not told.

    Without a durable store a session's turns count from its activation.
    """
    for subject, lines in evidence.lines_by_subject().items():
        seen: dict[tuple[str, int], Line] = {}
        for line in (line for line in lines if line.event == "turn_committed"):
            key = (line.turn, 0 if evidence.is_durable(subject) else line.epoch)
            if key in seen:
                yield Violation("I2", subject, f"turn {line.turn} committed in {seen[key].epoch} and in {line.epoch}")
            seen[key] = line
    for subject, rows in _rows(evidence.completed).items():
        for before, after in pairwise(rows):
            if after.number != before.number + 1:
                yield Violation("I2", subject, f"the store's turn {before.number} is followed by {after.number}")
            if after.epoch < before.epoch:
                yield Violation("I2", subject, f"the store has epoch {after.epoch} after {before.epoch}")
        if evidence.counted.get(subject, len(rows)) != len(rows):
            yield Violation("I2", subject, f"the store has counted {evidence.counted[subject]} turns, not {len(rows)}")
    for subject, calls in evidence.calls_by_subject().items():
        yield from _numbers(subject, calls, durable=evidence.is_durable(subject))


def _rows(rows: list[StoredRow]) -> dict[str, list[StoredRow]]:
    found: dict[str, list[StoredRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.number):
        found[row.subject].append(row)
    return found


def _numbers(subject: str, calls: list[Call], *, durable: bool) -> Iterator[Violation]:
    last: Call | None = None
    untold: set[str] = set()
    for call in calls:
        if not call.ok or call.number is None:
            untold.add(call.turn)
            continue
        if last is not None and last.number is not None and (durable or last.end_epoch == call.end_epoch):
            most = last.number + 1 + len(untold - {call.turn, last.turn})
            if not last.number < call.number <= most and call.turn != last.turn:
                yield Violation("I2", subject, f"turn {last.number} is followed by {call.number}, at most {most}")
        last = call
        untold.clear()


def owners_change_for_a_reason(evidence: Evidence) -> Iterator[Violation]:
    """Stickiness: another incarnation claims a session or task only if the one before released it, drained, was fenced
    or was killed. A node that lost its lease and never noticed is found here too."""
    ends = Ends(evidence)
    for subject, lines in evidence.lines_by_subject().items():
        released = {line.epoch for line in lines if line.event == "released"}
        claims = sorted((line for line in lines if line.event == "claimed"), key=lambda line: line.epoch)
        for before, after in pairwise(claims):
            if before.incarnation == after.incarnation or before.epoch in released:
                continue
            if not ends.had_ended(before, after.t_ns):
                yield Violation(
                    "stickiness",
                    subject,
                    f"moved from {before.node} (epoch {before.epoch}) to {after.node} (epoch {after.epoch}) though "
                    "nothing had happened to the first",
                )


RULES: tuple[Rule, ...] = (
    no_work_after_a_later_epoch,
    no_answer_of_an_earlier_epoch,
    epochs_only_grow,
    turns_have_no_gap,
    at_most_one_run,
    what_callers_got_is_stored,
    what_was_left_is_taken_up,
    steps_run_once,
    callers_of_a_step_got_one_result,
    what_began_ends,
    no_step_with_an_outcome_begins_again,
    a_step_begins_once_an_attempt,
    no_step_is_recorded_after_the_end,
    what_was_said_stays,
    owners_change_for_a_reason,
    no_run_ends_node_after_node,
    nothing_starts_once_halted,
)
