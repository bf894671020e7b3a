"""The events of the wire, as a client's code sees them.

Guarantees that a kind of event that this version does not know is an `UnknownEvent`, never an error. Called by
progress.py.
"""

from collections.abc import Iterable
from datetime import UTC
from typing import Any

from agentring.client.events import (
    AttemptRestarted,
    CustomEvent,
    Event,
    FileOutput,
    Gap,
    InputRequired,
    Question,
    StateChanged,
    StepBegun,
    StepEnded,
    TextDelta,
    ToolCall,
    ToolResult,
    TurnAccepted,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    UnknownEvent,
)
from agentring.client.inputs import Json, read_file, read_input
from agentring.plain_json import from_struct, from_value
from agentring.usage import MOST_USAGE, Usage
from agentring.v1 import session_pb2

_STEP_OUTCOMES = {
    number: name.removeprefix("STEP_OUTCOME_") for name, number in session_pb2.StepOutcome.items() if number
}


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
        case "step_begun":
            begun = raw.step_begun
            return StepBegun(
                **head,
                name=begun.name,
                step_id=begun.step_id,
                parent_id=begun.parent_id,
                begun=begun.begin_time.ToDatetime(tzinfo=UTC),
                replayed_steps=begun.replayed_steps,
            )
        case "step_ended":
            step = raw.step_ended
            return StepEnded(
                **head,
                name=step.name,
                step_id=step.step_id,
                parent_id=step.parent_id,
                duration_s=step.duration.ToNanoseconds() / 1e9,
                outcome=_STEP_OUTCOMES.get(step.outcome, ""),
            )
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
