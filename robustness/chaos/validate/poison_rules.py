"""The rule about runs that end their nodes. Pure: evidence in, violations out."""

from collections import defaultdict
from collections.abc import Iterator

from robustness.chaos.validate.evidence import Evidence, Line
from robustness.chaos.validate.violation import Violation

ENDED_ITSELF = "ended itself"
"""The mark of a node's end that nobody else has caused."""
MOST_ENDS = 2
_BEGINS = {"turn_started": "turn_", "task_started": "task_"}
_ENDS = ("committed", "failed", "cancelled")


def no_run_ends_node_after_node(evidence: Evidence) -> Iterator[Violation]:
    """No turn and no task is under way on more than MOST_ENDS nodes when they end by themselves."""
    ends: dict[tuple[str, str], list[str]] = defaultdict(list)
    for mark in evidence.marks:
        if mark.what != ENDED_ITSELF:
            continue
        lines = [line for line in evidence.lines if line.node == mark.node and line.t_ns <= mark.t_ns]
        last = max((line.incarnation for line in lines), default=0)
        for run in _under_way([line for line in lines if line.incarnation == last]):
            ends[run].append(mark.node)
    for (subject, turn), nodes in ends.items():
        if len(nodes) > MOST_ENDS:
            yield Violation("poison", subject, f"{len(nodes)} nodes ended under it, {turn}: {', '.join(nodes)}")


def _under_way(lines: list[Line]) -> set[tuple[str, str]]:
    runs: set[tuple[str, str]] = set()
    for line in sorted(lines, key=lambda line: line.t_ns):
        if line.event in _BEGINS:
            runs.add((line.subject, line.turn))
        elif line.event.endswith(_ENDS) and not line.event.startswith("once_"):
            runs.discard((line.subject, line.turn))
    return runs
