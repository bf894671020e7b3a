"""Events, as a client's code sees them: one small frozen class for each kind, with the wire's own message as `raw`.

Made by event_reading.py.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from agentring.client.inputs import FilePart, Input, Json
from agentring.usage import Usage
from agentring.v1 import session_pb2


@dataclass(frozen=True, slots=True)
class Question:
    """A question of an agent that has no answer yet; its turn waits for a `reply`."""

    turn_id: str
    input_id: str
    prompt: str
    schema: dict[str, Json] | None
    """A JSON Schema of the answer's data; None: words will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a session or a task. It covers first_seq..seq."""

    raw: session_pb2.Event = field(repr=False)
    """As it came; its text may begin before that of a TextDelta, whose repeated part is cut off."""
    seq: int
    first_seq: int
    epoch: int
    turn_id: str
    """Empty where it belongs to no turn, and in tasks."""
    attempt: int

    @property
    def time(self) -> datetime:
        """When it was made, by the node's wall clock, in UTC."""
        return self.raw.time.ToDatetime(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAccepted(Event):
    """The input is safe."""

    turns_ahead: int
    questions: tuple[Question, ...] = ()
    """What the turn that runs before it waits for an answer to; until then this one waits as well."""
    input: Input | None = None
    """What the user gave; None: this stream sent the turn, or see input_lost."""
    input_lost: str = ""
    """Why there is no input although another stream sent the turn, as in "TOO_LARGE"; empty: there is, or it was
    accepted by a release that did not keep it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted(Event):
    """The agent runs."""

    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta(Event):
    """Words that follow those before. Provisional until TurnCompleted."""

    offset: int
    """Where the text begins, in bytes of UTF-8 from the turn's first word."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall(Event):
    """A tool is being called."""

    call_id: str
    name: str
    arguments: dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult(Event):
    """A tool has answered, or failed: then error_id is an id to look for in the node's log."""

    call_id: str
    name: str
    result: Json
    error_id: str
    reason: str
    """As ToolResult.reason of the wire, as in "TOOL_CANCELLED"; empty: it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutput(Event):
    """The agent has put out a file: `session.get_file(event.file)`. Provisional until TurnCompleted."""

    file: FilePart


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged(Event):
    """The agent changed the session's state. It counts when the turn completes."""

    keys: tuple[str, ...]
    has_more: bool
    """There are more of them than one event lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRequired(Event):
    """The agent waits for a `reply`."""

    input_id: str
    prompt: str
    schema: dict[str, Json] | None
    """A JSON Schema of the answer's data; None: words will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomEvent(Event):
    """An event of the agent's own, by a name that it and its user interfaces agree upon."""

    name: str
    data: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBegun(Event):
    """A step has run for a quarter of a second, and goes on. Shorter ones have no events, nor has one that is answered
    from its record. AttemptRestarted and the turn's end leave no step open."""

    name: str
    """The step's, or the key of `ctx.once`."""
    step_id: str
    """The same in every run of the turn."""
    parent_id: str
    """The step that it is inside of; empty: none."""
    begun: datetime
    """By the node's wall clock, in UTC."""
    replayed_steps: int
    """How many steps this run of the turn had been answered from their records by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded(Event):
    """A step has ended of which StepBegun was told."""

    name: str
    step_id: str
    parent_id: str
    duration_s: float
    outcome: str
    """"COMPLETED", "FAILED", "CANCELLED", or "UNKNOWN": it was cut off and may have taken effect. Empty: one that is
    younger than this code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRestarted(Event):
    """The turn was cut off and runs again: its words and events so far are void, beyond those that stay valid."""

    reason: str
    valid_through_seq: int = 0
    """Events up to this one stay valid, and are not sent again; 0: none of the turn does."""
    valid_text_bytes: int = 0
    """So many bytes of UTF-8 of its words stay valid: the words go on there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCompleted(Event):
    """The turn ended well; outcome and state are safe."""

    result: dict[str, Json] | None
    text_bytes: int
    result_lost: str
    """Why there is no result although the agent returned one, as in "UNREADABLE"; else empty."""
    usage: Usage | None = None
    """What its model calls have used; None: its agent counted nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFailed(Event):
    """The turn ended with an error; the state is that before the turn."""

    reason: str
    error_id: str
    detail: str
    """Of STATE_INVALID, RESULT_INVALID and TOOL_ARGUMENT_INVALID: what was wrong and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCancelled(Event):
    """The turn was cancelled; the state is that before the turn."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Event):
    """What this event covers is no longer kept."""

    reason: str = ""
    """"UNREADABLE": it is kept, but no client could read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(Event):
    """A kind of event that is younger than this code: `raw` has it."""


ENDS = (TurnCompleted, TurnFailed, TurnCancelled)
"""Exactly one of these ends a turn or a task's run."""
