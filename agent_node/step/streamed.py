"""What is recorded of a step whose result comes in pieces (`ctx.stream_step`), and how its reader gets it again.

Guarantees: the text is that of the pieces that the agent got, a character that two of them share included; where other
steps began between two pieces, the pieces are kept as they were, since the agent may have called those for each.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent_node.step.outcome import StepOutcome, completed
from agent_node.step.typed import as_json
from agent_node.store.step_records import StepState


@dataclass(frozen=True, slots=True)
class Streamed:
    """What an earlier attempt recorded."""

    pieces: Sequence[str]
    value: Any = None
    """What the function yielded beside the pieces; None: nothing."""
    error: tuple[str, str] | None = None
    """Its type's name and its text."""


def ended(pieces: Sequence[str], value: Any, most_bytes: int, *, together: bool) -> StepOutcome:
    """The function has come to its end. most_bytes: as `completed`; together: as one piece."""
    return completed([_kept(pieces, together=together), as_json(value)], most_bytes)


def broke_off(pieces: Sequence[str], error: StepOutcome, most_bytes: int, *, together: bool) -> StepOutcome:
    """The function has failed, or is not to go on. error: FAILED."""
    said = json.loads(error.value)
    outcome = completed([_kept(pieces, together=together), None, *said], most_bytes)
    if outcome.state == StepState.FAILED:  # so much cannot be kept
        outcome = completed([[], None, *said])
    return StepOutcome(StepState.FAILED, outcome.value)


def cut(pieces: Sequence[str], *, together: bool) -> bytes:
    """The value of one that its agent cancelled."""
    outcome = completed([_kept(pieces, together=together), None])
    return outcome.value if outcome.state == StepState.COMPLETED else b""


def read(outcome: StepOutcome) -> Streamed:
    """As it was written."""
    if outcome.state in (StepState.UNKNOWN, StepState.STARTED) or not outcome.value:
        return Streamed(())
    pieces, value, *error = json.loads(outcome.value)
    return Streamed(pieces, value, (error[0], error[1]) if error else None)


def _kept(pieces: Sequence[str], *, together: bool) -> list[str]:
    """Whole characters: half of one is no text."""
    text = "".join(pieces)
    if text.isascii():
        whole = [text] if together else list(pieces)
    elif together:
        whole = [_whole(text)]
    else:
        whole = [_whole(piece) for piece in pieces]
    return [piece for piece in whole if piece]


def _whole(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
