"""All of an event log at once, of a task's run, which is small enough to be answered with as a whole."""

from collections.abc import Iterable

from agent_node.events.log import EventLog
from agentring.v1 import session_pb2


def all_events(log: EventLog) -> list[session_pb2.Event]:
    """All that it holds; where the oldest were dropped, a gap comes first."""
    seq, found = 0, list[session_pb2.Event]()
    while seq < log.head_seq:
        seq, events = log.read(seq)
        found += [each.whole().event for each in events]
    return found


def text_of(events: Iterable[session_pb2.Event]) -> str:
    """The words in a run's events, without those that a later attempt has voided."""
    words = b""
    for event in events:
        if event.HasField("attempt_restarted"):
            words = words[: event.attempt_restarted.valid_text_bytes]
        elif event.HasField("text_delta"):
            words += event.text_delta.text.encode()
    return words.decode(errors="replace")
