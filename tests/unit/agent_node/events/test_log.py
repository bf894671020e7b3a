"""The event log: numbered without a gap, bounded, and its readers are woken."""

import asyncio
import traceback

import pytest

from agent_node.events.log import EventLog
from agent_node.events.numbers import NumberRange
from agentring.errors import NodeFenced, ResumeOffsetExpired, SessionClosed
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event
from harness.read_events import read

MAX_BYTES = 1 << 20


def first_seq(event: Event) -> int:
    return event.first_seq if event.HasField("first_seq") else event.seq


def read_all(log: EventLog, after_seq: int = 0) -> list[Event]:
    events: list[Event] = []
    while after_seq < log.head_seq:
        reached, more = read(log, after_seq)
        assert reached > after_seq
        after_seq = reached
        events += more
    return events


def started(turn_id: str) -> Event:
    return Event(turn_id=turn_id, attempt=1, turn_started=session_pb2.TurnStarted(node_id="n1"))


def test_adjacent_text_is_merged_and_says_what_it_covers() -> None:
    log = EventLog(Epoch(7), MAX_BYTES)
    log.append(started("t"))
    assert [log.append_text("t", 1, 0, "añ"), log.append_text("t", 1, 3, "b")] == [3, 1]
    log.append(Event(turn_id="t", turn_completed=session_pb2.TurnCompleted()))
    one, text, end = read_all(log)
    assert (one.seq, one.HasField("first_seq"), one.epoch) == (1, False, 7)
    assert (text.first_seq, text.seq, text.text_delta.text, text.text_delta.offset) == (2, 3, "añb", 0)
    assert (end.seq, end.WhichOneof("body")) == (4, "turn_completed")


def test_text_of_different_turns_and_attempts_stays_apart() -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    for turn_id, attempt in (("a", 1), ("b", 1), ("b", 2)):
        log.append_text(turn_id, attempt, 0, "x")
    assert [(event.turn_id, event.attempt, event.seq) for event in read_all(log)] == [
        ("a", 1, 1),
        ("b", 1, 2),
        ("b", 2, 3),
    ]


def test_text_that_cannot_be_stored_uses_no_number() -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    with pytest.raises(UnicodeEncodeError):
        log.append_text("t", 1, 0, "\ud800")
    log.append_text("t", 1, 0, "x")
    (event,) = read_all(log)
    assert (event.seq, event.text_delta.text) == (1, "x")


def test_an_empty_log() -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    assert (log.head_seq, log.oldest_seq, log.end_error) == (0, 1, None)
    assert read(log, 0) == (0, [])
    assert [log.start_after(None), log.start_after(0)] == [0, 0]
    with pytest.raises(ResumeOffsetExpired):
        log.start_after(1)
    log.check()


def test_who_meets_the_logs_end_learns_why_and_leaves_nothing_with_it() -> None:
    """An error that is raised again and again keeps every raiser's frames alive, in its traceback."""
    log = EventLog(Epoch(1), MAX_BYTES)
    log.end(SessionClosed())
    depths = []
    for _ in range(3):
        with pytest.raises(SessionClosed) as raised:
            log.check()
        depths.append(sum(1 for _ in traceback.walk_tb(raised.value.__traceback__)))
    assert depths == [depths[0]] * 3


def test_memory_is_bounded_the_oldest_go_first_and_a_gap_says_so() -> None:
    log = EventLog(Epoch(1), 64 << 10)
    for i in range(400):
        log.append_text("t", 1, i * 1_000, "x" * 1_000)
    assert log.head_seq == 400
    assert 400 - 64 <= log.oldest_seq <= 400 - 40
    gap, *rest = read_all(log)
    assert gap.HasField("gap")
    assert (first_seq(gap), gap.seq) == (1, log.oldest_seq - 1)
    assert rest[-1].seq == 400


def test_a_resume_outside_of_what_is_kept_is_refused_but_all_and_live_are_not() -> None:
    log = EventLog(Epoch(1), 64 << 10)
    for i in range(400):
        log.append_text("t", 1, i * 1_000, "x" * 1_000)
    oldest = log.oldest_seq
    assert [log.start_after(None), log.start_after(0), log.start_after(oldest - 1)] == [400, 0, oldest - 1]
    for after_seq in (oldest - 2, 401):
        with pytest.raises(ResumeOffsetExpired) as refused:
            log.start_after(after_seq)
        assert (refused.value.oldest_seq, refused.value.head_seq) == (oldest, 400)


def test_readers_are_woken_by_events_and_by_the_end_and_the_first_end_stays() -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    reader = asyncio.Event()
    log.subscribe(reader)
    assert log.readers == 1
    for act in (
        lambda: log.append_text("t", 1, 0, "x"),
        lambda: log.append(started("t")),
        lambda: log.end(SessionClosed()),
    ):
        reader.clear()
        act()
        assert reader.is_set()
    log.end(NodeFenced())
    assert isinstance(log.end_error, SessionClosed)
    log.unsubscribe(reader)
    reader.clear()
    log.append(started("t"))
    assert not reader.is_set()
    assert log.readers == 0


@pytest.mark.parametrize("kept", [0, 5])
def test_a_reader_that_has_some_of_what_an_event_covers_gets_the_rest_alone(kept: int) -> None:
    """The first event of another attempt covers all that the dead owner may have published."""
    log = EventLog(Epoch(2), MAX_BYTES, NumberRange(40, 1_000, lambda: None), head_seq=kept)
    restarted = session_pb2.AttemptRestarted(reason="NODE_LOST")
    seq = log.append(Event(turn_id="t", attempt=2, attempt_restarted=restarted))
    log.append(started("t"))
    assert seq == 41
    for read_seq in range(kept, seq):
        reached, (first, then) = read(log, read_seq)
        assert (first_seq(first), first.seq, then.seq, reached) == (read_seq + 1, seq, seq + 1, seq + 1)
        assert first.attempt_restarted == restarted
    (whole, *_) = read(log, kept)[1]
    assert first_seq(whole) == kept + 1  # what is kept is as it was
