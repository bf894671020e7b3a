"""The rule about halts. Pure: evidence in, violations out."""

from collections.abc import Iterator

from robustness.chaos.validate.evidence import Evidence, Mark
from robustness.chaos.validate.violation import Violation

HALTED = "everything halted"
"""The mark of a node that has confirmed a halt of everything, or has been fenced under one."""
RESUMED = "everything resumed"
"""The mark of the moment in which a resume is asked for."""
STOPS_WITHIN_NS = 500_000_000
_STARTS = frozenset({"turn_started", "task_started", "tool_started", "step_begun", "once_started"})


def nothing_starts_once_halted(evidence: Evidence) -> Iterator[Violation]:
    """On a node that has confirmed a halt nothing starts from STOPS_WITHIN_NS later until the resume."""
    resumes = sorted(mark.t_ns for mark in evidence.marks if mark.what == RESUMED)
    for mark in evidence.marks:
        if mark.what == HALTED:
            end_ns = next((t_ns for t_ns in resumes if t_ns > mark.t_ns), None)
            yield from _started(evidence, mark, end_ns)


def _started(evidence: Evidence, mark: Mark, end_ns: int | None) -> Iterator[Violation]:
    for line in evidence.lines:
        late_ns = line.t_ns - mark.t_ns
        is_over = end_ns is not None and line.t_ns >= end_ns
        if line.node == mark.node and line.event in _STARTS and late_ns > STOPS_WITHIN_NS and not is_over:
            what = f"{line.event} on {line.node} {late_ns / 1e9:.2f} s after it was halted"
            yield Violation("halt", line.subject, what)
