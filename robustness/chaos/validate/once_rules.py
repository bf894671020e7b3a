"""The checker's rules about steps that run once (`ctx.once`): I4 and I5. Pure, as checker.py, which puts them together.

That no run works on after a later one began is I1, that a key moves only for a reason is the owners' rule: both judge
steps as they do tasks. A run of the checker's is shorter than an outcome's retention.
"""

from collections import defaultdict
from collections.abc import Iterator

from robustness.chaos.validate.ends import Ends
from robustness.chaos.validate.evidence import Evidence, Line
from robustness.chaos.validate.violation import Violation

_ENDINGS = frozenset({"once_committed", "once_failed", "once_unknown", "once_put_back"})


def steps_run_once(evidence: Evidence) -> Iterator[Violation]:
    """I4: what has a result, and what is UNKNOWN, is not run again, but for somebody's resolution. (What has failed may
    be. A volatile store's results end with their node.)"""
    for subject, lines in _steps(evidence):
        if not evidence.is_durable(subject):
            continue
        stands: Line | None = None
        for line in lines:
            if line.event == "once_resolved":
                stands = None
            elif line.event in ("once_committed", "once_unknown"):
                stands = line
            elif line.event == "once_started" and stands is not None:
                yield Violation("I4", subject, f"epoch {line.epoch} ran it after {stands.event} of {stands.epoch}")


def callers_of_a_step_got_one_result(evidence: Evidence) -> Iterator[Violation]:
    """I4: everybody who asked for a step is told the same of it. (A volatile store's results end with their node.)"""
    by_step: dict[str, set[str]] = defaultdict(set)
    for call in evidence.calls:
        if call.ok and call.once_result and evidence.durable_tasks:
            by_step[call.once].add(call.once_result)
    for key, results in by_step.items():
        if len(results) > 1:
            yield Violation("I4", key, f"callers were told {' and '.join(sorted(results))}")


def what_began_ends(evidence: Evidence) -> Iterator[Violation]:
    """I5: every run has an end, its own or one that a later owner gave it, unless its node had a reason to be over:
    then the key is free, and nobody need have asked for it since."""
    ends = Ends(evidence)
    last_ns = max([line.t_ns for line in evidence.lines] + [mark.t_ns for mark in evidence.marks], default=0)
    for subject, lines in _steps(evidence):
        ended_epoch = max((line.epoch for line in lines if line.event in _ENDINGS), default=0)
        for line in lines:
            if line.event == "once_started" and line.epoch > ended_epoch and not ends.had_ended(line, last_ns):
                yield Violation("I5", subject, f"the run of epoch {line.epoch} on {line.node} has never ended")


def _steps(evidence: Evidence) -> Iterator[tuple[str, list[Line]]]:
    """By epoch, then by time: a frozen node writes its lines late."""
    for subject, lines in evidence.lines_by_subject().items():
        if subject.startswith("once/"):
            yield subject, sorted(lines, key=lambda line: (line.epoch, line.t_ns))
