"""A session's or a task run's events, in order, in memory, bounded.

Guarantees: events are numbered without a gap and no number is used twice; a reader that asks for what comes after a
seq gets exactly that, whatever was merged (adjacent words are stored together but can be cut at any seq); what one read
returns is within its bound, or a single event that was made larger; memory stays under the bound, the oldest events
going first, and a reader that fell behind is told by a `gap`. Does not guarantee durability.

Words are stored as runs of text, with the place where each piece ends, rather than as one message a piece: appending
one is what a token costs, and costs little more memory than its letters. Written by
the turn that runs; read by every attached stream.
"""

import asyncio
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from agentring.errors import AgentringError, ResumeOffsetExpired, StoreUnavailable
from agentring.ids import Epoch
from agentring.v1 import session_pb2

READ_BYTES = 16 << 10
"""How much one read returns unless it is told otherwise, and the most words that one event may be made of."""
_WORDS_HEAD_BYTES = 80
"""The most that an event of words takes beside the words and the turn's id."""
_RUN_BYTES = READ_BYTES - 256
"""The most words that are stored together: with their head and any turn's id they fit in one read."""
_EVENT_OVERHEAD_BYTES = 160
NO_END = 1 << 63


@dataclass(slots=True)
class _Single:
    """One event, nearly always with one number."""

    first_seq: int
    seq: int
    event: session_pb2.Event
    size_bytes: int


@dataclass(slots=True)
class _Words:
    """Consecutive words of one turn; piece i has the number first_seq + i."""

    first_seq: int
    turn_id: str
    attempt: int
    time_ns: int
    offset: int
    text: bytearray = field(default_factory=bytearray)
    ends: "array[int]" = field(default_factory=lambda: array("I"))
    """Where each piece ends in `text`."""
    size_bytes: int = _EVENT_OVERHEAD_BYTES

    def pieces(self, after_seq: int, last_seq: int) -> tuple[int, int]:
        """Where the pieces after a seq begin and those through another end."""
        return max(0, after_seq + 1 - self.first_seq), min(len(self.ends), last_seq + 1 - self.first_seq)

    def fitting(self, after_seq: int, limit: int, room_bytes: int) -> tuple[int, int]:
        """The last number, and about the size, of an event of the words after a seq that goes in the room.

        Where they do not all go in, the size is that of all: a read that has something else leaves them to the next.
        One piece is taken in any case.
        """
        start, stop = self.pieces(after_seq, limit)
        begin = self.ends[start - 1] if start else 0
        head_bytes = _WORDS_HEAD_BYTES + len(self.turn_id)
        size_bytes = head_bytes + self.ends[stop - 1] - begin
        if size_bytes > room_bytes:
            stop = max(start + 1, bisect_right(self.ends, begin + room_bytes - head_bytes, start, stop))
        return self.first_seq + stop - 1, size_bytes


class NumberRange:
    """The numbers that a log may use: those after log_seq up to reserved_seq."""

    def __init__(self, log_seq: int, reserved_seq: int, runs_low: Callable[[], None]) -> None:
        """runs_low: called with every event of the range's second half; it sees to it that `extend` is called."""
        self.log_seq = log_seq
        self.runs_low = runs_low
        self.extend(reserved_seq)

    def extend(self, reserved_seq: int) -> None:
        """From now on numbers up to reserved_seq may be used."""
        self.low_seq = reserved_seq - (reserved_seq - self.log_seq) // 2
        self.reserved_seq = reserved_seq


class EventLog:
    """The events of one activation."""

    def __init__(self, epoch: Epoch, max_bytes: int, numbers: NumberRange | None = None) -> None:
        """max_bytes: about how much memory the events may take. numbers: None: from 1, without end."""
        self._numbers = numbers or NumberRange(0, NO_END, lambda: None)
        self._epoch = epoch
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: list[_Single | _Words] = []
        self._readers: set[asyncio.Event] = set()
        self._end: AgentringError | None = None
        self.head_seq = self._numbers.log_seq

    @classmethod
    def restored(cls, epoch: Epoch, events: Iterable[session_pb2.Event]) -> "EventLog":
        """A log that is over: it holds events that were numbered before, whose coverage has no gap. A read that begins
        inside of one has all of it."""
        log = cls(epoch, NO_END)
        for event in events:
            log.head_seq = event.seq
            log._add(_Single(event.first_seq or event.seq, event.seq, event, event.ByteSize() + _EVENT_OVERHEAD_BYTES))
        return log

    @property
    def size_bytes(self) -> int:
        """About how much memory the events take."""
        return self._bytes

    @property
    def oldest_seq(self) -> int:
        """The oldest number that is kept; head_seq + 1: none."""
        return self._entries[0].first_seq if self._entries else self.head_seq + 1

    @property
    def end_error(self) -> AgentringError | None:
        """Why no more events will come, and every attached stream ends; None: the log lives."""
        return self._end

    def append(self, event: session_pb2.Event, *, first_seq: int | None = None) -> int:
        """Numbers an event (of which the caller sets turn_id, attempt and body, and time if it is an earlier one) and
        stores it; returns its seq.

        first_seq: the first number that it covers, of those that an earlier owner may have used. Raises
        StoreUnavailable: the reserved numbers have run out.
        """
        self._count()
        event.seq = self.head_seq
        if first_seq is not None and first_seq < event.seq:
            event.first_seq = first_seq
        event.epoch = self._epoch
        if not event.HasField("time"):
            event.time.FromNanoseconds(time.time_ns())
        size_bytes = event.ByteSize() + _EVENT_OVERHEAD_BYTES
        self._add(_Single(event.first_seq or self.head_seq, self.head_seq, event, size_bytes))
        return self.head_seq

    def append_text(self, turn_id: str, attempt: int, offset: int, text: str) -> int:
        """Stores words that begin `offset` bytes into the turn's text; returns how many bytes they are. Raises as
        `append`."""
        piece = text.encode()
        self._count()
        last = self._entries[-1] if self._entries else None
        if (
            not isinstance(last, _Words)
            or last.turn_id != turn_id
            or last.attempt != attempt
            or len(last.text) + len(piece) > _RUN_BYTES
        ):
            last = _Words(self.head_seq, turn_id, attempt, time.time_ns(), offset)
            self._add(last)
        last.text += piece
        last.ends.append(len(last.text))
        last.size_bytes += len(piece) + last.ends.itemsize
        self._bytes += len(piece) + last.ends.itemsize
        self._shrink()
        self._wake()
        return len(piece)

    def end(self, error: AgentringError) -> None:
        """Ends every attached stream with an error, after what is stored; the first one stays."""
        if self._end is None:
            self._end = error
            self._wake()

    def check(self) -> None:
        """Raises what the log was ended with."""
        if self._end is not None:
            # Many streams raise this one; each would add its frames to the traceback, and keep them alive.
            raise self._end.with_traceback(None)

    def start_after(self, after_seq: int | None) -> int:
        """Where a stream with this after_seq begins. Raises ResumeOffsetExpired."""
        if after_seq is None:
            return self.head_seq
        if after_seq > self.head_seq or 0 < after_seq < self.oldest_seq - 1:
            raise ResumeOffsetExpired(self.oldest_seq, self.head_seq)
        return after_seq

    def read(
        self, after_seq: int, through_seq: int | None = None, *, merge_bytes: int = READ_BYTES
    ) -> tuple[int, list[session_pb2.Event]]:
        """Events after a seq, at most merge_bytes of them, and the number they reach; stops at through_seq. A larger
        event comes alone: with others it might be more than one message holds. merge_bytes 0: one event, unmerged."""
        limit = self.head_seq if through_seq is None else min(through_seq, self.head_seq)
        if after_seq >= limit:
            return after_seq, []
        events: list[session_pb2.Event] = []
        if after_seq + 1 < self.oldest_seq:
            gap_end = min(self.oldest_seq - 1, limit)
            events.append(self.gap(after_seq + 1, gap_end))
            after_seq = gap_end
        room_bytes = merge_bytes - sum(event.ByteSize() for event in events)
        index = bisect_right(self._entries, after_seq + 1, key=lambda entry: entry.first_seq) - 1
        while after_seq < limit and (room_bytes > 0 or not events):
            entry = self._entries[index]
            if isinstance(entry, _Single):
                last_seq, size_bytes = entry.seq, entry.size_bytes - _EVENT_OVERHEAD_BYTES
            else:
                last_seq, size_bytes = entry.fitting(after_seq, limit, room_bytes)
            if events and size_bytes > room_bytes:
                break  # words too are cut only where a read begins with them: the others would be crumbs
            events.append(entry.event if isinstance(entry, _Single) else self._merged(entry, after_seq, last_seq))
            after_seq = last_seq
            room_bytes -= size_bytes  # below 0 where words were cut, so that nothing follows them
            index += 1
        return after_seq, events

    def all_events(self) -> list[session_pb2.Event]:
        """All that it holds; where the oldest are gone, a gap comes first."""
        seq, found = self._numbers.log_seq, []
        while seq < self.head_seq:
            seq, events = self.read(seq)
            found += events
        return found

    def text(self) -> str:
        """The words that it holds."""
        return "".join(event.text_delta.text for event in self.all_events() if event.HasField("text_delta"))

    def subscribe(self, reader: asyncio.Event) -> None:
        """Sets the reader's event whenever something is appended or the log ends, until unsubscribed."""
        self._readers.add(reader)

    def unsubscribe(self, reader: asyncio.Event) -> None:
        """The reader is not told any more."""
        self._readers.discard(reader)

    @property
    def readers(self) -> int:
        """How many streams are attached."""
        return len(self._readers)

    def _merged(self, words: _Words, after_seq: int, last_seq: int) -> session_pb2.Event:
        start, stop = words.pieces(after_seq, last_seq)
        event = session_pb2.Event(
            seq=words.first_seq + stop - 1, epoch=self._epoch, turn_id=words.turn_id, attempt=words.attempt
        )
        if stop - start > 1:
            event.first_seq = words.first_seq + start
        event.time.FromNanoseconds(words.time_ns)
        begin = words.ends[start - 1] if start else 0
        event.text_delta.offset = words.offset + begin
        event.text_delta.text = words.text[begin : words.ends[stop - 1]].decode()
        return event

    def gap(self, first_seq: int, seq: int) -> session_pb2.Event:
        """Says that these numbers are no longer kept."""
        return session_pb2.Event(seq=seq, first_seq=first_seq, epoch=self._epoch, gap=session_pb2.Gap())

    def _count(self) -> None:
        if self.head_seq >= self._numbers.low_seq:
            self._numbers.runs_low()
            if self.head_seq >= self._numbers.reserved_seq:
                raise StoreUnavailable
        self.head_seq += 1

    def _add(self, entry: _Single | _Words) -> None:
        self._entries.append(entry)
        self._bytes += entry.size_bytes
        self._shrink()
        self._wake()

    def _shrink(self) -> None:
        drop = 0
        while self._bytes > self._max_bytes and drop < len(self._entries) - 1:
            self._bytes -= self._entries[drop].size_bytes
            drop += 1
        if drop:
            del self._entries[:drop]

    def _wake(self) -> None:
        for reader in self._readers:
            reader.set()
