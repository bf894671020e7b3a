"""Stored events, in a form that every client can read.

Guarantees: one event that is nested too deeply to be read, which earlier releases took, keeps neither other events nor
a turn's end from being sent: in its place stands a gap with a reason, and a turn that completed with such a result has
completed without it, and says so. Used by the records of turns and tasks, and by session/stored_events.py.
"""

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from agentring.v1 import session_pb2, store_pb2, task_pb2

UNREADABLE = "UNREADABLE"
_SHALLOW_BYTES = 200
"""What is smaller cannot be nested too deeply: each message in another takes two bytes."""


def to_event(kept: bytes) -> session_pb2.Event:
    """One event. Raises DecodeError: it is damaged."""
    try:
        event = session_pb2.Event.FromString(kept)
        if len(kept) > _SHALLOW_BYTES:
            # As it is sent: there it stands one message deeper.
            sent = session_pb2.ConverseResponse(events=[event]).SerializeToString()
            session_pb2.ConverseResponse.FromString(sent)
    except Exception:  # encoding has a limit of its own, and errors of its own
        return _without_depth(kept)
    return event


def to_stored_events(kept: bytes) -> list[store_pb2.StoredEvent]:
    """A row of a session's events. Raises DecodeError."""
    try:
        return list(store_pb2.StoredEvents.FromString(kept).events)
    except DecodeError:
        frame = store_pb2.StoredEventsFrame.FromString(kept)
        return [
            store_pb2.StoredEvent(event=to_event(each.event), piece_bytes=each.piece_bytes) for each in frame.events
        ]


def to_task_events(kept: bytes) -> Iterator[session_pb2.Event]:
    """The events of a task's run. Raises DecodeError."""
    try:
        yield from task_pb2.RunTaskResponse.FromString(kept).events
    except DecodeError:
        for each in store_pb2.RunTaskResponseFrame.FromString(kept).events:
            yield to_event(each)


def _without_depth(kept: bytes) -> session_pb2.Event:
    frame = store_pb2.EventFrame.FromString(kept)
    if not frame.seq:
        raise DecodeError  # it is no event
    event = session_pb2.Event(
        seq=frame.seq,
        first_seq=frame.first_seq if frame.HasField("first_seq") else None,
        epoch=frame.epoch,
        turn_id=frame.turn_id,
        attempt=frame.attempt,
        time=frame.time,
    )
    if frame.HasField("turn_completed"):
        text_bytes = frame.turn_completed.text_bytes
        event.turn_completed.CopyFrom(session_pb2.TurnCompleted(text_bytes=text_bytes, result_lost=UNREADABLE))
    else:
        event.gap.reason = UNREADABLE
        event.turn_id = ""  # a gap belongs to no turn
    return event
