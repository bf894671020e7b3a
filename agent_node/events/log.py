"""A session's or a task run's events, in order, in memory, bounded.

Guarantees: events are numbered without a gap and no number is used twice; a reader that asks for what comes after a seq
gets exactly that, whatever was merged (entries.py); memory stays under the bound, the oldest events going first. What
memory no longer has is read from the store where that has it (session/stored_events.py); where it has not, the reader
gets a `gap`. Does not guarantee durability. Text is kept as runs, with the offset where each piece ends: a token takes
little more memory than its letters. Written by the turn that runs; read by every attached stream.
"""

import asyncio
import time
from collections.abc import Iterable

from agent_node.events import encoding
from agent_node.events.accepted import Accepted
from agent_node.events.entries import READ_BYTES, RUN_BYTES, Earlier, Entry, Single, TextRun, gap, read_entries
from agent_node.events.numbers import NO_END, NumberRange, number
from agent_node.events.readers import LogReaders
from agentring.errors import AgentringError, ResumeOffsetExpired, StoreUnavailable
from agentring.ids import Epoch
from agentring.v1 import session_pb2


class EventLog:
    """The events of one activation, and the way to those of earlier ones."""

    collects_text = True
    """Nobody can read it before the event loop goes on, so until then text may wait for more."""

    def __init__(
        self,
        epoch: Epoch,
        max_bytes: int,
        numbers: NumberRange | None = None,
        earlier: Earlier | None = None,
        *,
        head_seq: int | None = None,
    ) -> None:
        """max_bytes: about how much memory the events may take. numbers: None: from 1, without end. earlier: None:
        what memory has dropped is lost. head_seq: up to which events are known; an earlier owner may have used the
        numbers from there to where `numbers` begin, and the first event covers them; None: it begins where they do."""
        self._earlier = earlier
        self._numbers = numbers or NumberRange(0, NO_END, lambda: None)
        self._epoch = epoch
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: list[Entry] = []
        self._readers = LogReaders()
        self._end: AgentringError | None = None
        self.head_seq = self._numbers.log_seq if head_seq is None else head_seq
        self.was_restarted = False  # whether memory may have an attempt_restarted after which something stays valid
        self.ended_seq = 0
        """Of the last turn's end: where it is head_seq, nothing is about to follow."""
        self.quiet_since_s = time.monotonic()
        """When an event other than text was appended last, or a reader left."""

    @property
    def used_seq(self) -> int:
        """The last number that may have been used, by this owner or an earlier one."""
        return max(self.head_seq, self._numbers.log_seq)

    @classmethod
    def restored(cls, epoch: Epoch, events: Iterable[session_pb2.Event]) -> "EventLog":
        """A log that is over: it holds events that were numbered before, whose coverage has no gap. A read that begins
        inside of one has all of it."""
        log = cls(epoch, NO_END)
        log.restore(map(Single.of, events))
        return log

    @property
    def size_bytes(self) -> int:
        """About how much memory the events take."""
        return self._bytes

    @property
    def oldest_seq(self) -> int:
        """The oldest number that can be read; head_seq + 1: none."""
        return self._memory_seq if self._earlier is None else min(self._memory_seq, self._earlier.oldest_seq)

    @property
    def _memory_seq(self) -> int:
        """The oldest number in memory; head_seq + 1: none."""
        return self._entries[0].first_seq if self._entries else self.head_seq + 1

    @property
    def end_error(self) -> AgentringError | None:
        """Why no more events will come, and every attached stream ends; None: the log lives."""
        return self._end

    def number(self, event: session_pb2.Event) -> int:
        """Gives an event the number that `append` would give it now; returns it."""
        number(event, self.used_seq + 1, self.head_seq)
        return event.seq

    def append(self, event: session_pb2.Event, *, is_end: bool = False) -> int:
        """Numbers an event (of which the caller sets turn_id, attempt and body, and time if it is an earlier one) and
        stores it; returns its seq. is_end: of a turn. Raises StoreUnavailable: the reserved numbers have run out."""
        known_seq = self.head_seq
        self._count()
        number(event, self.head_seq, known_seq)
        event.epoch = self._epoch
        if not event.HasField("time"):
            event.time.FromNanoseconds(time.time_ns())
        self.ended_seq = self.head_seq if is_end else self.ended_seq
        self._add(Single.of(event))
        self.quiet_since_s = time.monotonic()
        return self.head_seq

    def append_body(self, turn_id: str, attempt: int, body: bytes) -> int:
        """As `append`, of an event with this encoded body (encoding.py)."""
        first_seq = self.head_seq + 1
        raw = self._encoded(turn_id, attempt, body)
        self._add(Single(first_seq, self.head_seq, turn_id, raw))
        self.quiet_since_s = time.monotonic()
        return self.head_seq

    def append_accepted(self, turn_id: str, accepted: bytes, input: bytes) -> int:
        """As `append`, of a turn's acceptance. accepted: a TurnAccepted; input: what the turn was given."""
        first_seq = self.head_seq + 1
        raw = self._encoded(turn_id, 1, encoding.turn_accepted(accepted))
        self._add(Accepted(first_seq, self.head_seq, turn_id, raw, accepted, input))
        self.quiet_since_s = time.monotonic()
        return self.head_seq

    def _encoded(self, turn_id: str, attempt: int, body: bytes) -> bytes:
        """An event under the next number."""
        known_seq = self.head_seq
        self._count()
        seq = self.head_seq
        first_seq = known_seq + 1 if seq > known_seq + 1 else 0
        return encoding.event(seq, first_seq, self._epoch, turn_id, attempt, time.time_ns(), body)

    def append_end(self, event: session_pb2.Event, encoded: Single) -> int:
        """As `append`, of a turn's end that was numbered and encoded before: under a later number where others have
        been used since."""
        if encoded.seq != self.used_seq + 1 or encoded.first_seq != self.head_seq + 1:
            return self.append(event, is_end=True)
        self._count()
        self.ended_seq = self.head_seq
        self._add(encoded)
        self.quiet_since_s = time.monotonic()
        return self.head_seq

    def append_text(self, turn_id: str, attempt: int, offset: int, *texts: str) -> int:
        """Stores pieces of text, of which the first begins `offset` bytes into the turn's text, each under a number of
        its own; returns how many bytes they have together. Raises as `append`."""
        pieces = [text.encode() for text in texts]
        size_bytes = sum(map(len, pieces))
        if len(pieces) > 1 and (size_bytes > RUN_BYTES or self.used_seq + len(pieces) > self._numbers.low_seq):
            for piece in pieces:
                self._append_pieces(turn_id, attempt, offset, [piece], len(piece))
                offset += len(piece)
        else:
            self._append_pieces(turn_id, attempt, offset, pieces, size_bytes)
        return size_bytes

    def _append_pieces(self, turn_id: str, attempt: int, offset: int, pieces: list[bytes], size_bytes: int) -> None:
        self._count()
        last = self._entries[-1] if self._entries else None
        if (
            not isinstance(last, TextRun)
            or last.turn_id != turn_id
            or last.attempt != attempt
            or len(last.text) + size_bytes > last.most_bytes
        ):
            last = TextRun(self.head_seq, self._epoch, turn_id, attempt, time.time_ns(), offset)
            self._add(last)
        self.head_seq += len(pieces) - 1
        for piece in pieces:
            last.text += piece
            last.ends.append(len(last.text))
        more_bytes = size_bytes + len(pieces) * last.ends.itemsize
        last.size_bytes += more_bytes
        self._bytes += more_bytes
        self._shrink()
        self._readers.wake()

    def cut(self) -> int:
        """The last number; text that comes is not put together with what is before: what a write stores ends here."""
        if self._entries and isinstance(last := self._entries[-1], TextRun):
            last.most_bytes = 0
        return self.head_seq

    def skip(self, count: int) -> bool:
        """Leaves out so many numbers, which the next event covers. False: there are not as many."""
        has_room = self.used_seq + count < self._numbers.reserved_seq - 1
        self._numbers.log_seq = self.used_seq + (count if has_room else 0)
        return has_room

    def restore(self, entries: Iterable[Entry]) -> None:
        """Takes what an earlier owner told, up to head_seq."""
        self.was_restarted = True  # nobody has looked
        for self.head_seq, entry in ((entry.seq, entry) for entry in entries):
            self._add(entry)

    def end(self, error: AgentringError) -> None:
        """Ends every attached stream with an error, after what is stored; the first one stays."""
        if self._end is None:
            self._end = error
            self._readers.wake()

    def check(self) -> None:
        """Raises what the log was ended with."""
        if self._end is not None:
            # Many streams raise this one; each would add its frames to the traceback, and keep them alive.
            raise self._end.with_traceback(None)

    def start_after(self, after_seq: int | None) -> int:
        """Where a stream with this after_seq begins. Raises ResumeOffsetExpired."""
        if after_seq is None:
            return self.head_seq
        if after_seq > self.used_seq or 0 < after_seq < self.oldest_seq - 1:
            raise ResumeOffsetExpired(self.oldest_seq, self.head_seq)
        return after_seq

    def read(
        self, after_seq: int, through_seq: int | None = None, *, merge_bytes: int = READ_BYTES
    ) -> tuple[int, list[Single]]:
        """Events after a seq, at most merge_bytes of them, and the number they reach; stops at through_seq. A larger
        event comes alone: with others it might be more than one message holds. merge_bytes 0: one event, unmerged."""
        limit = self.head_seq if through_seq is None else min(through_seq, self.head_seq)
        if after_seq >= limit:
            return after_seq, []
        return read_entries(self._entries, self._epoch, after_seq, limit, merge_bytes)

    def is_in_memory(self, after_seq: int) -> bool:
        """Whether `read` has all that comes after a seq, or nothing has."""
        return self._earlier is None or after_seq + 1 >= self._memory_seq

    async def recall(
        self, after_seq: int, through_seq: int | None = None, *, merge_bytes: int = READ_BYTES
    ) -> tuple[int, list[Single]]:
        """As `read`, also of what only the store has. Raises StoreUnavailable."""
        if self._earlier is not None and not self.is_in_memory(after_seq):
            limit = self._memory_seq - 1 if through_seq is None else min(through_seq, self._memory_seq - 1)
            if after_seq < limit and (entries := await self._earlier.entries(after_seq)):
                return read_entries(entries, self._epoch, after_seq, min(limit, entries[-1].seq), merge_bytes)
        return self.read(after_seq, through_seq, merge_bytes=merge_bytes)

    def entries(self, after_seq: int) -> list[Entry]:
        """All that comes after a seq, to be stored; what memory has dropped of it is a gap. after_seq: up to which the
        log was stored before, so it lies between entries."""
        index = len(self._entries)
        while index and self._entries[index - 1].first_seq > after_seq:
            index -= 1  # from behind: what is found is what there is to store
        entries = self._entries[index:]
        if after_seq < min(self._memory_seq - 1, self.head_seq):
            entries.insert(0, Single.of(gap(self._epoch, after_seq + 1, self._memory_seq - 1)))
        return entries

    def subscribe(self, reader: asyncio.Event) -> None:
        """Sets the reader's event whenever something is appended or the log ends, until unsubscribed."""
        self._readers.add(reader)

    def unsubscribe(self, reader: asyncio.Event) -> None:
        """The reader's event is not set any more."""
        self._readers.discard(reader)
        self.quiet_since_s = time.monotonic()

    @property
    def readers(self) -> int:
        """How many streams are attached."""
        return len(self._readers)

    def gap(self, first_seq: int, seq: int) -> session_pb2.Event:
        """Says that these numbers are no longer kept."""
        return gap(self._epoch, first_seq, seq)

    def _count(self) -> None:
        used_seq, numbers = self.used_seq, self._numbers
        if used_seq >= numbers.low_seq:
            numbers.runs_low()
            if used_seq >= numbers.reserved_seq:
                raise StoreUnavailable
        self.head_seq = used_seq + 1

    def _add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._bytes += entry.size_bytes
        self._shrink()
        self._readers.wake()

    def shrink(self, max_bytes: int, through_seq: int) -> None:
        """Drops the oldest events from memory that are kept elsewhere, up to through_seq, until about max_bytes are
        left."""
        drop = 0
        while drop < len(self._entries) and self._bytes > max_bytes and self._entries[drop].seq <= through_seq:
            self._bytes -= self._entries[drop].size_bytes
            drop += 1
        del self._entries[:drop]

    def _shrink(self) -> None:
        drop = 0
        while self._bytes > self._max_bytes and drop < len(self._entries) - 1:
            self._bytes -= self._entries[drop].size_bytes
            drop += 1
        if drop:
            del self._entries[:drop]
