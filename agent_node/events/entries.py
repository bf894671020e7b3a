"""What an event log is made of: single events and runs of text, and how they are read from any seq.

Guarantees: what is read after a seq is exactly what was appended after it, whatever was merged: text is kept with the
offset where each piece ends, so that it can be cut at any seq; what one read returns is within its bound, or a single
event that was made larger; what is missing before the first entry is said by a `gap`. The same for entries in memory
(log.py) and those that were read from the store (session/stored_events.py).
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent_node.events import encoding
from agentring.ids import Epoch
from agentring.v1 import session_pb2

READ_BYTES = 16 << 10
"""How much one read returns by default, and the most text that one event may have."""
_TEXT_HEAD_BYTES = 80
"""The most that a text event takes beside its text and the turn's id."""
RUN_BYTES = READ_BYTES - 256
"""The most text that is kept together: with its head and any turn's id it fits in one read."""
ENTRY_OVERHEAD_BYTES = 160


@dataclass
class Single:
    """One event, nearly always with one number, as it is sent and stored."""

    first_seq: int
    seq: int
    turn_id: str
    raw: bytes
    """A session_pb2.Event."""

    @classmethod
    def of(cls, event: session_pb2.Event) -> "Single":
        """An event that has its number."""
        return cls(event.first_seq or event.seq, event.seq, event.turn_id, event.SerializeToString())

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return len(self.raw) + ENTRY_OVERHEAD_BYTES

    @property
    def event(self) -> session_pb2.Event:
        """The event, decoded."""
        return session_pb2.Event.FromString(self.raw)

    def whole(self) -> "Single":
        """The event, for whoever has not sent what it is about."""
        return self

    def after(self, after_seq: int) -> "Single":
        """The event, for a reader who has everything up to a seq: it covers no number twice. (Text that came merged is
        whole all the same: its offset says what of it is known.)"""
        return self if after_seq < self.first_seq else Single.of(self._covering(after_seq + 1))

    def _covering(self, first_seq: int) -> session_pb2.Event:
        event = session_pb2.Event.FromString(self.raw)
        if first_seq < self.seq:
            event.first_seq = first_seq
        else:
            event.ClearField("first_seq")
        return event


@dataclass(slots=True)
class TextRun:
    """Consecutive text of one turn; piece i has the number first_seq + i."""

    first_seq: int
    epoch: Epoch
    turn_id: str
    attempt: int
    time_ns: int
    offset: int
    text: bytearray = field(default_factory=bytearray)
    ends: "array[int]" = field(default_factory=lambda: array("I"))
    """Where each piece ends in `text`."""
    size_bytes: int = ENTRY_OVERHEAD_BYTES
    most_bytes: int = RUN_BYTES
    """How much text it may have; 0: nothing is added any more."""

    @property
    def seq(self) -> int:
        """The last piece's number."""
        return self.first_seq + len(self.ends) - 1

    def fitting(self, after_seq: int, limit: int, max_bytes: int) -> tuple[int, int]:
        """The last number, and about the size, of an event of the text after a seq that has at most max_bytes.

        Where the text has more, the size is that of all of it: a read that has something else leaves it to the next.
        One piece is taken in any case.
        """
        start, stop = self._pieces(after_seq, limit)
        begin = self.ends[start - 1] if start else 0
        head_bytes = _TEXT_HEAD_BYTES + len(self.turn_id)
        size_bytes = head_bytes + self.ends[stop - 1] - begin
        if size_bytes > max_bytes:
            stop = max(start + 1, bisect_right(self.ends, begin + max_bytes - head_bytes, start, stop))
        return self.first_seq + stop - 1, size_bytes

    def merged(self, after_seq: int, last_seq: int) -> Single:
        """The pieces after a seq through another as one event."""
        start, stop = self._pieces(after_seq, last_seq)
        first_seq, seq = self.first_seq + start, self.first_seq + stop - 1
        begin = self.ends[start - 1] if start else 0
        covered_seq = first_seq if first_seq < seq else 0
        body = encoding.text_delta(self.offset + begin, self.text[begin : self.ends[stop - 1]])
        raw = encoding.event(seq, covered_seq, self.epoch, self.turn_id, self.attempt, self.time_ns, body)
        return Single(first_seq, seq, self.turn_id, raw)

    def _pieces(self, after_seq: int, last_seq: int) -> tuple[int, int]:
        """Where the pieces after a seq begin and those through another end."""
        return max(0, after_seq + 1 - self.first_seq), min(len(self.ends), last_seq + 1 - self.first_seq)


Entry = Single | TextRun


class Earlier(Protocol):
    """What is kept of a log outside the memory."""

    @property
    def oldest_seq(self) -> int:
        """The oldest number that is kept; beyond all numbers that were kept: none."""

    async def entries(self, after_seq: int) -> Sequence[Entry]:
        """Some of what comes after a seq, from the first that is kept on; empty: nothing is. Raises
        StoreUnavailable."""


def gap(epoch: Epoch, first_seq: int, seq: int) -> session_pb2.Event:
    """Says that these numbers are no longer kept."""
    return session_pb2.Event(seq=seq, first_seq=first_seq, epoch=epoch, gap=session_pb2.Gap())


def read_entries(
    entries: Sequence[Entry], epoch: Epoch, after_seq: int, limit: int, merge_bytes: int
) -> tuple[int, list[Single]]:
    """Events after a seq, at most merge_bytes of them, and the number they reach; stops at `limit`, up to which
    the entries go, if there are any. A larger event comes alone: with others it might be more than one message holds.

    epoch: of the gap that stands for what comes before the entries. merge_bytes 0: one event, unmerged.
    """
    events: list[Single] = []
    oldest_seq = entries[0].first_seq if entries else limit + 1
    if after_seq + 1 < oldest_seq:
        gap_end = min(oldest_seq - 1, limit)
        events.append(Single.of(gap(epoch, after_seq + 1, gap_end)))
        after_seq = gap_end
    left_bytes = merge_bytes - sum(len(event.raw) for event in events)
    index = bisect_right(entries, after_seq + 1, key=lambda entry: entry.first_seq) - 1
    while after_seq < limit and (left_bytes > 0 or not events):
        entry = entries[index]
        if isinstance(entry, Single):
            last_seq, size_bytes = entry.seq, entry.size_bytes - ENTRY_OVERHEAD_BYTES
        else:
            last_seq, size_bytes = entry.fitting(after_seq, limit, left_bytes)
        if events and size_bytes > left_bytes:
            break  # text too is cut only where a read begins with it: the rest would be crumbs
        events.append(entry.after(after_seq) if isinstance(entry, Single) else entry.merged(after_seq, last_seq))
        after_seq = last_seq
        left_bytes -= size_bytes  # below 0 where text was cut, so that nothing follows it
        index += 1
    return after_seq, events
