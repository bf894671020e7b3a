"""The checker's rules about the steps of runs (`ctx.step`): S1 to S3. Pure, as checker.py, which puts them together.

That no step is recorded by an epoch after a later one is I1. A step's identity names its run's life, so the same one in
another life is another step. A volatile store's steps end with their node.
"""

from collections import defaultdict
from collections.abc import Iterator

from robustness.chaos.validate.evidence import Evidence, Line
from robustness.chaos.validate.violation import Violation

_ENDS = frozenset(
    {"turn_committed", "turn_failed", "turn_cancelled", "task_committed", "task_failed", "task_cancelled"}
)
_NO_OUTCOMES = ("STARTED", "NOTED")
"""Noted are the pieces that a streaming step had come to when another one began."""
_DIVERGED = ("STEP_DIVERGED", "STEP_CORRUPT")


def no_step_with_an_outcome_begins_again(evidence: Evidence) -> Iterator[Violation]:
    """S1: once an outcome of a step was committed no later epoch begins it again, nor has another outcome of it; and no
    run fails because of its recorded steps: the agent of the traffic asks for the same ones in every attempt."""
    for subject, step, lines in _steps(evidence):
        outcomes = [line for line in lines if line.event == "step_recorded" and line.state not in _NO_OUTCOMES]
        if not outcomes:
            continue
        first = min(outcomes, key=lambda line: line.epoch)
        for line in lines:
            again = line.event == "step_begun" or (line.event == "step_recorded" and line.state not in _NO_OUTCOMES)
            if again and line.epoch > first.epoch:
                what = f"epoch {line.epoch} has {line.event} of {step} after its {first.state} of {first.epoch}"
                yield Violation("S1", subject, what)
    for call in evidence.calls:
        if call.reason.endswith(_DIVERGED):
            yield Violation("S1", call.subject, f"{call.turn or 'the task'} was told {call.reason}")


def a_step_begins_once_an_attempt(evidence: Evidence) -> Iterator[Violation]:
    """S2: an epoch begins a step once at most; one that must not run twice is begun once in all."""
    for subject, step, lines in _steps(evidence):
        begun = [line for line in lines if line.event == "step_begun"]
        epochs = [line.epoch for line in begun]
        if len(set(epochs)) < len(epochs):
            yield Violation("S2", subject, f"an epoch has begun {step} twice, of {sorted(epochs)}")
        must_not = any(line.event == "step_recorded" and line.state == "STARTED" for line in lines)
        if must_not and len(begun) > 1:
            yield Violation("S2", subject, f"{step} must not run twice, and was begun in {sorted(epochs)}")


def no_step_is_recorded_after_the_end(evidence: Evidence) -> Iterator[Violation]:
    """S3: no step is committed after the end of its run."""
    for subject, lines in evidence.lines_by_subject().items():
        if not evidence.is_durable(subject):
            continue
        ends = {line.turn: line.commit for line in lines if line.event in _ENDS and line.commit is not None}
        for line in lines:
            end = ends.get(line.turn)
            if line.event == "step_recorded" and line.commit is not None and end is not None and line.commit > end:
                yield Violation("S3", subject, f"commit {line.commit} has a step of a run that ended in {end}")


def _steps(evidence: Evidence) -> Iterator[tuple[str, str, list[Line]]]:
    for subject, lines in evidence.lines_by_subject().items():
        if not evidence.is_durable(subject):
            continue
        by_step: dict[str, list[Line]] = defaultdict(list)
        for line in lines:
            if line.step:
                by_step[line.step].append(line)
        for step, found in by_step.items():
            yield subject, step, found
