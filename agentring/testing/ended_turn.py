"""What a test gets of a turn or a task that has ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_node.store.step_records import StepState
from agentring.agent import JsonObject
from agentring.client.events import (
    AttemptRestarted,
    CustomEvent,
    Event,
    InputRequired,
    TextDelta,
    ToolCall,
    ToolResult,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
)
from agentring.client.progress import Progress
from agentring.testing.step_log import SeenStep, StepLog
from agentring.v1 import session_pb2

_OUTCOMES = {
    StepState.COMPLETED: "completed",
    StepState.FAILED: "failed",
    StepState.CANCELLED: "cancelled",
    StepState.UNKNOWN: "unknown",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A step of `ctx.step`, a tool or a step of `ctx.once`, as the run's end left it.

    assert [step.name for step in turn.steps] == ["charge", "ship", "mail"]
    assert turn.steps[0].replayed
    """

    name: str
    outcome: str
    """"completed", "failed", "cancelled", "unknown"; empty: it has none, it was cut off and the agent did not come to
    it again."""
    value: Any
    """What it returned, as JSON; of one that failed a list that begins with the error's type and text."""
    attempt: int
    """In which its outcome was recorded; 0: it has none."""
    replayed: bool
    """The last attempt got its outcome from the record, and did not call its function."""
    called_in: tuple[int, ...]
    """The attempts in which its function was called."""
    depth: int = 0
    """Inside how many other steps it ran."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of `ctx.tool` in the last attempt, or before as far as that stands.

    assert turn.tools[0].arguments == {"item": "tea"}
    """

    name: str
    arguments: JsonObject
    result: Any
    reason: str
    """Why there is no result, as in "TOOL_ERROR"; empty: there is one."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a session, or the run of a task, that has ended.

    turn = await t.turn("tea")
    assert (turn.text, turn.result) == ("tea is 3", {"total": 3})
    """

    text: str
    """What the agent said in the attempt that ended it, and before as far as that stands."""
    result: JsonObject | None
    """Of the last `Result` that it yielded; None: it yielded none."""
    state: JsonObject = field(repr=False)
    """The session's, after it; empty for a task."""
    steps: tuple[Step, ...]
    """In the order in which they began."""
    tools: tuple[ToolUse, ...]
    failure: str
    """The reason, as in "AGENT_ERROR"; empty: it completed."""
    detail: str
    """What was wrong and where, of some reasons."""
    attempts: int
    """How often it was begun: more than once where the node died."""
    cuts: tuple[str, ...]
    """Where the node died, for people."""
    questions: tuple[str, ...]
    """The prompts of the questions that it asked, in their order; of one that it asked again in another attempt the
    last one."""
    emitted: tuple[tuple[str, Any], ...]
    """The name and the data of each event of `ctx.emit` that stands."""
    events: tuple[Event, ...] = field(repr=False)
    """As agentring.client has them, of all attempts."""
    error: BaseException | None = field(repr=False)
    """What the agent raised; None: nothing."""


def turn_of(
    events: Sequence[Event],
    log: StepLog,
    *,
    state: JsonObject,
    cuts: Sequence[str],
    error: BaseException | None,
) -> Turn:
    """events: of all nodes that it has run on; log: its steps; cuts: where its nodes died."""
    attempts = max((event.attempt for event in events), default=1)
    valid = _valid(events)
    end = events[-1] if events else None
    failure = detail = ""
    asked = {event.input_id: event.prompt for event in events if isinstance(event, InputRequired)}
    if isinstance(end, TurnFailed):
        failure, detail = end.reason, end.detail
    elif isinstance(end, TurnCancelled):
        failure = end.reason
    return Turn(
        text=_text(events),
        result=end.result if isinstance(end, TurnCompleted) else None,
        state=state,
        steps=tuple(_step(log, seen, attempts) for seen in log.steps.values()),
        tools=_tools(valid),
        failure=failure,
        detail=detail,
        attempts=attempts,
        cuts=tuple(cuts),
        questions=tuple(asked.values()),
        emitted=tuple((event.name, event.data) for event in valid if isinstance(event, CustomEvent)),
        events=tuple(events),
        error=error if failure else None,
    )


def read_events(raws: Iterable[session_pb2.Event]) -> Iterable[Event]:
    """As a client has them that has seen the events of all nodes."""
    progress = Progress()
    for raw in raws:
        yield from progress.take(raw)


def _valid(events: Sequence[Event]) -> Sequence[Event]:
    """Those of the last attempt, and of earlier ones as far as they stand."""
    valid: list[Event] = []
    for event in events:
        if isinstance(event, AttemptRestarted):
            valid = [each for each in valid if each.seq <= getattr(event, "valid_through_seq", 0)]
        valid.append(event)
    return valid


def _text(events: Sequence[Event]) -> str:
    text = b""
    for event in events:
        if isinstance(event, AttemptRestarted):
            text = text[: getattr(event, "valid_text_bytes", 0)]
        elif isinstance(event, TextDelta):
            text = text[: event.offset] + event.text.encode()
    return text.decode()


def _step(log: StepLog, seen: SeenStep, attempts: int) -> Step:
    row = seen.row
    return Step(
        name=seen.name,
        outcome=_OUTCOMES.get(row.state, "") if row is not None else "",
        value=log.value_of(row) if row is not None else None,
        attempt=row.attempt if row is not None else 0,
        replayed=row is not None and row.attempt < attempts,
        called_in=tuple(seen.called_in),
        depth=seen.depth,
    )


def _tools(events: Sequence[Event]) -> tuple[ToolUse, ...]:
    results = {event.call_id: event for event in events if isinstance(event, ToolResult)}
    uses = []
    for event in events:
        if isinstance(event, ToolCall):
            found = results.get(event.call_id)
            result, reason = (found.result, found.reason) if found is not None else (None, "")
            uses.append(ToolUse(event.name, event.arguments, result, reason))
    return tuple(uses)
