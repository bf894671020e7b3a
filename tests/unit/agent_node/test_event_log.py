"""The event log: numbered without a gap, readable from any seq, bounded."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_node.event_log import READ_BYTES, EventLog
from agentring.errors import NodeFenced, ResumeOffsetExpired, SessionClosed
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event

ROOM = 1 << 20


def first_seq(event: Event) -> int:
    return event.first_seq if event.HasField("first_seq") else event.seq


def read_all(log: EventLog, after_seq: int = 0) -> list[Event]:
    events: list[Event] = []
    while after_seq < log.head_seq:
        reached, more = log.read(after_seq)
        assert reached > after_seq
        after_seq = reached
        events += more
    return events


def started(turn_id: str) -> Event:
    return Event(turn_id=turn_id, attempt=1, turn_started=session_pb2.TurnStarted(node_id="n1"))


def test_adjacent_words_are_merged_and_say_what_they_cover() -> None:
    log = EventLog(Epoch(7), ROOM)
    log.append(started("t"))
    assert [log.append_text("t", 1, 0, "añ"), log.append_text("t", 1, 3, "b")] == [3, 1]
    log.append(Event(turn_id="t", turn_completed=session_pb2.TurnCompleted()))
    one, words, end = read_all(log)
    assert (one.seq, one.HasField("first_seq"), one.epoch) == (1, False, 7)
    assert (words.first_seq, words.seq, words.text_delta.text, words.text_delta.offset) == (2, 3, "añb", 0)
    assert (end.seq, end.WhichOneof("body")) == (4, "turn_completed")


def test_words_of_different_turns_and_attempts_stay_apart() -> None:
    log = EventLog(Epoch(1), ROOM)
    for turn_id, attempt in (("a", 1), ("b", 1), ("b", 2)):
        log.append_text(turn_id, attempt, 0, "x")
    assert [(event.turn_id, event.attempt, event.seq) for event in read_all(log)] == [
        ("a", 1, 1),
        ("b", 1, 2),
        ("b", 2, 3),
    ]


pieces = st.lists(
    st.one_of(st.text(min_size=1, max_size=5).filter(str.isprintable), st.sampled_from(["\0event"])), max_size=60
)


@given(pieces, st.data())
def test_a_read_from_any_seq_is_exactly_the_rest(written: list[str], data: st.DataObject) -> None:
    log = EventLog(Epoch(1), ROOM)
    contents: list[tuple[str, int]] = []
    offset = 0
    for piece in written:
        if piece == "\0event":
            log.append(started("t"))
            contents.append(("", offset))
        else:
            contents.append((piece, offset))
            offset += log.append_text("t", 1, offset, piece)
    after_seq = data.draw(st.integers(0, len(contents)))
    events = read_all(log, after_seq)
    assert all(first_seq(later) == earlier.seq + 1 for earlier, later in pairwise(events))
    if after_seq < len(contents):
        assert (first_seq(events[0]), events[-1].seq) == (after_seq + 1, len(contents))
    for event in events:
        covered = contents[first_seq(event) - 1 : event.seq]
        if event.HasField("text_delta"):
            assert event.text_delta.text == "".join(text for text, _ in covered)
            assert event.text_delta.offset == covered[0][1]
        else:
            assert [text for text, _ in covered] == [""]


def test_a_read_can_stop_inside_of_merged_words() -> None:
    log = EventLog(Epoch(1), ROOM)
    for i in range(10):
        log.append_text("t", 1, i, str(i))
    reached, (event,) = log.read(2, 6)
    assert (reached, event.text_delta.text, event.text_delta.offset) == (6, "2345", 2)


def test_one_read_returns_about_so_many_bytes() -> None:
    log = EventLog(Epoch(1), ROOM)
    for i in range(100):
        log.append_text("t", 1, i * 1_000, "x" * 1_000)
    reached, events = log.read(0)
    assert reached < 100
    assert READ_BYTES <= sum(event.ByteSize() for event in events) <= 2 * READ_BYTES + 1_000


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
    log = EventLog(Epoch(1), ROOM)
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
