"""A session's events as the messages of a conversation.

Guarantees: only completed turns count, whose beginning is among the events; of a turn that was run again only what
stayed valid; each tool's result follows the message with its call. Called by run_messages.py.
"""

from collections.abc import Callable, Iterable, Sequence

from agentring.agent.files import Part
from agentring.agent.messages import AssistantMessage, Message, PastToolCall, ToolMessage, UserMessage
from agentring.plain_json import from_struct, from_value
from agentring.v1.session_pb2 import Event, Input

ReadInput = Callable[[Input], tuple[str, Sequence[Part]]]
"""The words and the parts of an input."""


def to_messages(events: Iterable[Event], read_input: ReadInput) -> list[Message]:
    """In the order in which the turns ran. events: of a session, in the order of seq."""
    turns: dict[str, list[Event]] = {}
    found: list[Message] = []
    for event in events:
        kind = event.WhichOneof("body")
        if not event.turn_id:
            continue
        if kind == "turn_accepted":
            turns[event.turn_id] = [event]
        elif event.turn_id not in turns:
            continue
        elif kind == "attempt_restarted":
            # What was told up to there stays, where the restart says so.
            valid_seq = getattr(event.attempt_restarted, "valid_through_seq", 0)
            accepted, *rest = turns[event.turn_id]
            turns[event.turn_id] = [accepted, *(each for each in rest if each.seq <= valid_seq), event]
        elif kind == "turn_completed":
            found += _of_turn(event.turn_id, turns.pop(event.turn_id), read_input)
        elif kind in ("turn_failed", "turn_cancelled"):
            del turns[event.turn_id]
        else:
            turns[event.turn_id].append(event)
    return found


def _of_turn(turn_id: str, events: Sequence[Event], read_input: ReadInput) -> list[Message]:
    accepted, *rest = events
    found: list[Message] = []
    if accepted.turn_accepted.HasField("input"):
        # A turn may be accepted while another one runs: its messages come when it does.
        position = _first_seq(rest[0]) if rest else accepted.seq
        text, parts = read_input(accepted.turn_accepted.input)
        found.append(UserMessage(position, turn_id, text, parts))
    said: list[str] = []
    calls: list[PastToolCall] = []
    position = 0

    def say() -> None:
        if said or calls:
            found.append(AssistantMessage(position, turn_id, "".join(said), tuple(calls)))
            said.clear()
            calls.clear()

    for event in rest:
        kind = event.WhichOneof("body")
        if kind in ("text_delta", "tool_call") and not said and not calls:
            position = _first_seq(event)
        if kind == "text_delta":
            said.append(event.text_delta.text)
        elif kind == "tool_call":
            call = event.tool_call
            calls.append(PastToolCall(call.call_id, call.name, from_struct(call.arguments)))
        elif kind == "tool_result":
            say()
            answered = event.tool_result
            result = from_value(answered.result) if answered.HasField("result") else None
            failed = (answered.reason or "TOOL_ERROR") if answered.error_id else ""
            found.append(ToolMessage(event.seq, turn_id, answered.call_id, answered.name, result, failed))
    say()
    return found


def _first_seq(event: Event) -> int:
    return event.first_seq or event.seq
