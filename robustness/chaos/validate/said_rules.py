"""The checker's rule about what runs say: S4. Pure, as checker.py, which puts them together.

The agent of the traffic ends a run with the hash of all words that it said in its last attempt, and with the number of
events that it emitted: every client must have these at the end, whatever it was sent again. A volatile store keeps
nothing of what was said.
"""

from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256

from robustness.chaos.validate.evidence import Call, Evidence
from robustness.chaos.validate.said import Kind, assembled, faults
from robustness.chaos.validate.violation import Violation


def digest(words: bytes) -> str:
    """As the agent's result has it."""
    return sha256(words).hexdigest()[:16]


def what_was_said_stays(evidence: Evidence) -> Iterator[Violation]:
    """S4: what was said up to valid_through_seq stays, every later stream has it under the same seq, and the next
    attempt does not say it again; who does not keep it is told nothing of it; and what each client has at the end is
    what the run has said."""
    for subject, calls in evidence.calls_by_subject().items():
        if not evidence.is_durable(subject):
            continue
        by_turn: dict[str, list[Call]] = defaultdict(list)
        for call in calls:
            by_turn[call.turn].append(call)
            for fault in _of_one(call):
                yield Violation("S4", subject, f"{call.turn or 'the task'}, {call.client}: {fault}")
        for turn, tries in by_turn.items():
            for fault in _of_all([call for call in tries if call.keeps_valid]):
                yield Violation("S4", subject, f"{turn or 'the task'}: {fault}")


def _of_one(call: Call) -> Iterator[str]:
    yield from faults(call.said)
    if not call.keeps_valid and any(each.valid_seq for each in call.said):
        yield "it does not keep what is valid, and was told that some is"
    if not call.words or call.replayed:  # of a task that had ended only its end is told
        return
    has = assembled(call.said)
    if has.is_whole and digest(has.words) != call.words:
        yield f"it has {len(has.words)} bytes of words that are not those of the run"
    if has.is_whole and len(has.emitted) != call.emitted:
        yield f"it has {len(has.emitted)} events, the run has emitted {call.emitted}"


def _of_all(calls: list[Call]) -> Iterator[str]:
    """Of the tries of one turn: whether they agree up to every point at which something was said to be valid."""
    valid = {each.valid_seq for call in calls for each in call.said if each.kind is Kind.RESTARTED and each.valid_seq}
    for seq in sorted(valid):
        found = []
        for call in calls:
            has = assembled(call.said, seq)
            if has.is_whole and call.said and call.said[-1].seq >= seq:
                found.append((has.words, has.emitted))
        if any(each != found[0] for each in found[1:]):
            yield f"clients have something else up to {seq}, though it was said to be valid"
