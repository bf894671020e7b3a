"""Events, as a client's code sees them: one small frozen class for each kind, with the wire's own message as `raw`.

Guarantees that a kind of event that this version does not know is an `UnknownEvent`, never an error. Called by
progress.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agentring.client.inputs import FilePart, Input, Json, read_file, read_input
from agentring.plain_json import from_struct, from_value
from agentring.usage import MOST_USAGE, Usage
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


def read_event(raw: session_pb2.Event) -> Event:
    """The event that a message of the wire is."""
    return _build(raw, raw.first_seq or raw.seq, raw.text_delta.offset, raw.text_delta.text)


def read_words(raw: session_pb2.Event, first_seq: int, offset: int, text: str) -> Event:
    """What is left of a `text_delta` of which a part is known already."""
    return _build(raw, first_seq, offset, text)


def read_questions(raw: Iterable[session_pb2.Question]) -> tuple[Question, ...]:
    """Open questions, as the wire has them."""
    return tuple(Question(asked.turn_id, asked.input_id, asked.prompt, _schema(asked)) for asked in raw)


def read_restart(raw: session_pb2.Event, reason: str) -> AttemptRestarted:
    """Says that what came before `raw` is void, where the wire does not."""
    return AttemptRestarted(**_head(raw, raw.first_seq or raw.seq), reason=reason)


def _head(raw: session_pb2.Event, first_seq: int) -> dict[str, Any]:
    return {
        "raw": raw,
        "seq": raw.seq,
        "first_seq": first_seq,
        "epoch": raw.epoch,
        "turn_id": raw.turn_id,
        "attempt": raw.attempt,
    }


def _build(raw: session_pb2.Event, first_seq: int, offset: int, text: str) -> Event:
    head = _head(raw, first_seq)
    match raw.WhichOneof("body"):
        case "turn_accepted":
            accepted = raw.turn_accepted
            return TurnAccepted(
                **head,
                turns_ahead=accepted.turns_ahead,
                questions=read_questions(accepted.questions),
                input=read_input(accepted.input) if accepted.HasField("input") else None,
                input_lost=accepted.input_lost,
            )
        case "turn_started":
            return TurnStarted(**head, node_id=raw.turn_started.node_id)
        case "text_delta":
            return TextDelta(**head, offset=offset, text=text)
        case "tool_call":
            call = raw.tool_call
            return ToolCall(**head, call_id=call.call_id, name=call.name, arguments=from_struct(call.arguments))
        case "tool_result":
            answered = raw.tool_result
            result = from_value(answered.result) if answered.HasField("result") else None
            return ToolResult(
                **head,
                call_id=answered.call_id,
                name=answered.name,
                result=result,
                error_id=answered.error_id,
                reason=answered.reason,
            )
        case "file_output":
            return FileOutput(**head, file=read_file(raw.file_output.file))
        case "state_changed":
            changed = raw.state_changed
            return StateChanged(**head, keys=tuple(changed.keys), has_more=changed.has_more)
        case "input_required":
            asked = raw.input_required
            return InputRequired(**head, input_id=asked.input_id, prompt=asked.prompt, schema=_schema(asked))
        case "custom_event":
            custom = raw.custom_event
            return CustomEvent(**head, name=custom.name, data=from_value(custom.data))
        case "attempt_restarted":
            restarted = raw.attempt_restarted
            return AttemptRestarted(
                **head,
                reason=restarted.reason,
                valid_through_seq=restarted.valid_through_seq,
                valid_text_bytes=restarted.valid_text_bytes,
            )
        case "turn_completed":
            ended = raw.turn_completed
            found = from_struct(ended.result) if ended.HasField("result") else None
            lost, used = ended.result_lost, _usage(ended)
            return TurnCompleted(**head, result=found, text_bytes=ended.text_bytes, result_lost=lost, usage=used)
        case "turn_failed":
            failed = raw.turn_failed
            return TurnFailed(**head, reason=failed.reason, error_id=failed.error_id, detail=failed.detail)
        case "turn_cancelled":
            return TurnCancelled(**head, reason=raw.turn_cancelled.reason)
        case "gap":
            return Gap(**head, reason=raw.gap.reason)
        case _:
            return UnknownEvent(**head)


def _schema(asked: session_pb2.Question | session_pb2.InputRequired) -> dict[str, Json] | None:
    return from_struct(asked.schema) if asked.HasField("schema") else None


def _usage(ended: session_pb2.TurnCompleted) -> Usage | None:
    if not ended.HasField("usage"):
        return None
    used = ended.usage
    # A sum that this class does not take is another program's; the turn has ended well all the same.
    counts = (used.input_tokens, used.output_tokens, used.cached_tokens, used.model_calls)
    return Usage(*(min(count, MOST_USAGE) for count in counts))
