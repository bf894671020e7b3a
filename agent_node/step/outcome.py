"""The outcome of a step as it is kept, and as its agent gets it.

Guarantees: what the agent gets is made of what is kept, in the first attempt as in every later one; what cannot be kept
(no JSON, too large) is an error of the step, never another value.
"""

import json
from dataclasses import dataclass, replace
from typing import Any, assert_never

from agent_node.agent_errors import text_of
from agent_node.store.step_records import StepState, StoredStep
from agentring import plain_json
from agentring.agent import StepFailed, StepUnknown
from agentring.plain_json import NotJson, type_name

MOST_VALUE_BYTES = 16 << 20
NOT_KEPT = "ResultNotKept"
"""The error's type where the result is no JSON, or too large."""
_MOST_TEXT = 1_000
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """How a step ended."""

    state: StepState
    value: bytes = b""
    """COMPLETED: JSON text; FAILED: the JSON of a list of the error's type and text; else empty."""


CANCELLED = StepOutcome(StepState.CANCELLED)
UNKNOWN = StepOutcome(StepState.UNKNOWN)
CANCELLED_UNKNOWN = StepOutcome(StepState.UNKNOWN, b"cancelled")
"""Of a step that must not run twice, and that its agent cancelled."""


def was_cancelled(row: StoredStep) -> bool:
    """Whether what the agent got was its own cancellation."""
    return row.state == StepState.CANCELLED or (row.state, row.value) == (StepState.UNKNOWN, CANCELLED_UNKNOWN.value)


def completed(value: Any, most_bytes: int = MOST_VALUE_BYTES) -> StepOutcome:
    """The step's function returned this. most_bytes: what may still be kept of the run."""
    try:
        text = _encode(plain_json.to_plain(value, max_bytes=MOST_VALUE_BYTES))
    except NotJson as error:
        return failed_with(NOT_KEPT, str(error))
    written = text.encode()
    if len(written) > MOST_VALUE_BYTES:
        return failed_with(NOT_KEPT, f"{len(written)} bytes, more than the {MOST_VALUE_BYTES} of a step's result")
    if len(written) > most_bytes:
        return failed_with(NOT_KEPT, f"{len(written)} bytes, more than the {most_bytes} that are left for this run")
    return StepOutcome(StepState.COMPLETED, written)


class KeptError(Exception):
    """Raised by a function that says itself what is kept of its failure."""

    def __init__(self, kept: list[Any], error: Exception) -> None:
        """kept: JSON, the error's type and text first; error: what it failed with."""
        super().__init__()
        self.kept = kept
        self.error = error


def failed(error: BaseException) -> StepOutcome:
    """The step's function raised this."""
    if type(error) is KeptError:
        return StepOutcome(StepState.FAILED, _encode(error.kept).encode())
    return failed_with(type_name(type(error)), text_of(error))


def failed_with(type_name: str, text: str) -> StepOutcome:
    """An error by its type's name and its text."""
    return StepOutcome(StepState.FAILED, _encode([type_name, text[:_MOST_TEXT]]).encode())


def ended(row: StoredStep, outcome: StepOutcome) -> StoredStep:
    """A step's row with its outcome."""
    return replace(row, state=outcome.state, value=outcome.value, size_bytes=len(outcome.value))


def result_of(name: str, outcome: StepOutcome) -> Any:
    """What the agent gets. Raises StepFailed, StepUnknown."""
    match outcome.state:
        case StepState.COMPLETED | StepState.NOTED:
            return json.loads(outcome.value)
        case StepState.FAILED:
            error_type, text = json.loads(outcome.value)
            raise StepFailed(name, error_type, text)
        case StepState.UNKNOWN | StepState.STARTED:
            raise StepUnknown(name)
        case StepState.CANCELLED | StepState.ENDING:
            raise AssertionError(name)  # the caller waits to be cancelled; and no step
        case _:
            assert_never(outcome.state)
