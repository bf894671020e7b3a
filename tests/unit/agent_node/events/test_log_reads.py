"""Reads of an event log: from any seq, up to any bound, exactly what was appended."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent_node.events.entries import READ_BYTES
from agent_node.events.log import EventLog
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


@dataclass(frozen=True)
class Written:
    """One number's content: text, or an event where `text` is None."""

    turn_id: str
    attempt: int
    text: str | None
    offset: int = 0


Writes = list[tuple[str, int, str | None]]
"""Turn, attempt, and text or None for an event."""


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


writes = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(1, 2), st.one_of(texts, st.none(), st.just("x" * 9_000))), max_size=40
)


def write(log: EventLog, pieces: Writes) -> list[Written]:
    """Writes text and events of several turns; content i has the number i + 1."""
    written: list[Written] = []
    offsets: dict[tuple[str, int], int] = defaultdict(int)
    for turn_id, attempt, text in pieces:
        offset = offsets[turn_id, attempt]
        written.append(Written(turn_id, attempt, text, offset))
        if text is None:
            assert log.append(Event(turn_id=turn_id, attempt=attempt, turn_started=session_pb2.TurnStarted()))
        else:
            size_bytes = log.append_text(turn_id, attempt, offset, text)
            assert size_bytes == len(text.encode())
            offsets[turn_id, attempt] += size_bytes
        assert log.head_seq == len(written)
    return written


def assert_covers(events: list[Event], written: list[Written], first: int, last: int) -> None:
    """The events say exactly what stands under the numbers first..last."""
    assert all(first_seq(later) == earlier.seq + 1 for earlier, later in pairwise(events))
    assert [first_seq(events[0]), events[-1].seq] == [first, last] if events else first == last + 1
    for event in events:
        covered = written[first_seq(event) - 1 : event.seq]
        assert not event.HasField("first_seq") or event.first_seq < event.seq
        assert {(each.turn_id, each.attempt) for each in covered} == {(event.turn_id, event.attempt)}
        if event.HasField("text_delta"):
            assert event.text_delta.text == "".join(str(each.text) for each in covered)
            assert event.text_delta.offset == covered[0].offset
            assert len(event.text_delta.text.encode()) <= READ_BYTES
        else:
            assert [each.text for each in covered] == [None]


@given(writes, st.data())
def test_a_read_from_any_seq_is_exactly_the_rest(given_writes: Writes, data: st.DataObject) -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    written = write(log, given_writes)
    after_seq = data.draw(st.integers(0, len(written)))
    assert_covers(read_all(log, after_seq), written, after_seq + 1, len(written))


@given(writes, st.data())
def test_reads_up_to_any_limits_say_each_number_once(given_writes: Writes, data: st.DataObject) -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    written = write(log, given_writes)
    start = reached = data.draw(st.integers(0, len(written)))
    events: list[Event] = []
    for limit in sorted(data.draw(st.lists(st.integers(0, len(written) + 2), max_size=8))):
        while True:
            before = reached
            reached, more = read(log, before, limit)
            events += more
            assert reached == (more[-1].seq if more else before) <= max(limit, before)
            if reached == before:
                break
        assert reached == max(start, min(limit, len(written)))
    assert_covers(events, written, start + 1, reached)


@given(writes, st.integers(1_000, 40_000), st.data())
def test_a_reader_of_a_small_log_learns_what_it_missed_and_gets_the_rest_exactly(
    given_writes: Writes, max_bytes: int, data: st.DataObject
) -> None:
    log = EventLog(Epoch(1), max_bytes)
    written = write(log, given_writes)
    after_seq = data.draw(st.integers(0, len(written)))
    limit = data.draw(st.integers(after_seq, len(written)))
    events: list[Event] = []
    reached = after_seq
    while reached < limit:
        reached, more = read(log, reached, limit)
        events += more
    missed = min(log.oldest_seq - 1, limit) - after_seq
    if missed > 0:
        gap = events.pop(0)
        assert gap.HasField("gap")
        assert (gap.first_seq, gap.seq, gap.epoch) == (after_seq + 1, after_seq + missed, 1)
    assert_covers(events, written, after_seq + max(0, missed) + 1, limit)


@given(writes, st.integers(1_000, 40_000))
def test_its_size_is_what_it_holds_and_within_the_bound(given_writes: Writes, max_bytes: int) -> None:
    log = EventLog(Epoch(1), max_bytes)
    write(log, given_writes)
    entries = log._entries
    assert log._bytes == sum(entry.size_bytes for entry in entries)
    assert log._bytes <= max_bytes or len(entries) == 1  # the newest is always kept


def test_a_read_can_stop_inside_of_merged_text() -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    for i in range(10):
        log.append_text("t", 1, i, str(i))
    reached, (event,) = read(log, 2, 6)
    assert (reached, event.text_delta.text, event.text_delta.offset) == (6, "2345", 2)


def test_one_read_returns_at_most_so_many_bytes_and_a_larger_event_alone() -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    for i in range(100):
        log.append_text("t", 1, i * 1_000, "x" * 1_000)
        log.append(started("t"))
    reached, events = read(log, 0)
    assert READ_BYTES / 2 < sum(event.ByteSize() for event in events) <= READ_BYTES
    large = session_pb2.TurnCompleted()
    large.result["large"] = "x" * 2 * READ_BYTES
    log.append(Event(turn_id="t", turn_completed=large))
    log.append(started("u"))
    reads = []
    reached = log.head_seq - 10
    while reached < log.head_seq:
        reached, events = read(log, reached)
        reads.append([event.WhichOneof("body") for event in events])
    assert reads[-2:] == [["turn_completed"], ["turn_started"]]


@given(writes, st.one_of(st.just(0), st.integers(1, 40_000)), st.data())
def test_a_read_is_within_any_bound_or_one_event_that_was_made_larger(
    given_writes: Writes, merge_bytes: int, data: st.DataObject
) -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    written = write(log, given_writes)
    start = reached = data.draw(st.integers(0, len(written)))
    events: list[Event] = []
    while reached < log.head_seq:
        reached, more = read(log, reached, merge_bytes=merge_bytes)
        assert reached == more[-1].seq
        if sum(event.ByteSize() for event in more) > merge_bytes:
            (event,) = more
            assert event.seq == first_seq(event)
        events += more
    assert_covers(events, written, start + 1, len(written))


def test_without_merging_a_read_is_one_event_as_it_was_made() -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    log.append(started("t"))
    for i in range(3):
        log.append_text("t", 1, i, str(i))
    reads = [read(log, after_seq, merge_bytes=0) for after_seq in range(4)]
    assert [reached for reached, _ in reads] == [1, 2, 3, 4]
    assert [[event.text_delta.text for event in events] for _, events in reads] == [[""], ["0"], ["1"], ["2"]]
    assert not any(event.HasField("first_seq") for _, events in reads for event in events)


def test_a_backlog_of_text_fills_every_read_with_one_event() -> None:
    log = EventLog(Epoch(1), MAX_BYTES)
    for i in range(10_000):
        log.append_text("t" * 128, 1, i * 6, "token ")
    reads, reached = [], 0
    while reached < log.head_seq:
        reached, events = read(log, reached)
        reads.append([event.ByteSize() for event in events])
    assert [len(sizes) for sizes in reads] == [1] * 4
    assert all(0.98 * READ_BYTES < sizes[0] <= READ_BYTES for sizes in reads[:-1])
