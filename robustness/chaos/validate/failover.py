"""How long sessions were without an owner that answers: I6, measured as their clients saw it."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from robustness.chaos.validate.evidence import Evidence
from robustness.chaos.validate.violation import Violation


@dataclass(frozen=True, slots=True)
class Failover:
    """One session's way to its next owner."""

    subject: str
    node: str
    """Which one it had."""
    took_s: float
    """From the mark to the first answer under a later epoch."""


def failovers(evidence: Evidence, mark: str) -> list[Failover]:
    """Of every session that the marked node owned at each such mark, and whose client went on asking.

    After `killed` a node's turns are over at once; after another mark (a drain) a session's time counts from the end of
    the turn that ran, which is the node's last word on it.
    """
    lines, calls = evidence.lines_by_subject(), evidence.calls_by_subject()
    found = []
    for done in (done for done in evidence.marks if done.what == mark):
        for subject, of_subject in lines.items():
            at = bisect_right(of_subject, done.t_ns, key=lambda line: line.t_ns)
            owned = [line for line in of_subject[:at] if line.event in ("claimed", "activated", "released")]
            if not owned or owned[-1].node != done.node or owned[-1].event == "released":
                continue
            epoch = owned[-1].epoch
            after = [call.accepted_ns for call in calls.get(subject, ()) if call.accepted_ns and call.epoch > epoch]
            if not after:
                continue
            ends = [line.t_ns for line in of_subject[at:] if line.epoch == epoch and line.event in ENDS]
            begun_ns = done.t_ns if mark == "killed" else max([done.t_ns, *ends])
            found.append(Failover(subject, done.node, (min(after) - begun_ns) / 1e9))
    return found


ENDS = ("turn_committed", "turn_failed", "turn_cancelled", "task_committed", "task_failed", "task_cancelled")


def too_slow(evidence: Evidence, mark: str, limit_s: float) -> Iterator[Violation]:
    """I6: a failover that took longer than the limit."""
    for failover in failovers(evidence, mark):
        if failover.took_s > limit_s:
            yield Violation("I6", failover.subject, f"{failover.took_s:.2f} s after {mark} {failover.node}")


def percentile(values: list[float], percent: float) -> float | None:
    """The smallest value that so many percent are not above; None without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else None
