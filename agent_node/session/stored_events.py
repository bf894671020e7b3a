"""A session's event log in the store: what goes there, when the oldest of it is dropped, and how it is read.

Guarantees: what was told is kept up to the session's head_seq, without a gap but for what memory had dropped before it
could be kept (a turn that told more than `max_log_bytes`); it is kept merged, and can be cut at any seq; a row is small
or one large event, so that reading on from a place never costs more than a little of it; beyond the bound the oldest
turns' events go first. What a turn that runs has told is not here: it is provisional until the turn has ended.

The session's writes go one at a time: `rows` is what the next one must keep, `written` says that it has. Used by
journal.py, and through the event log by every stream that reads from far back.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from google.protobuf.message import DecodeError

from agent_node.events.entries import READ_BYTES, Entry, Single, TextRun
from agent_node.store import EventExtent, EventRow, Store, StoredSession, Trim
from agent_node.store.readable import to_stored_events
from agentring.errors import SessionCorrupt
from agentring.ids import Epoch
from agentring.v1 import store_pb2

_ROW_BYTES = READ_BYTES
"""About the most that is kept in one row."""
_SLACK = 8
"""The bound is met again once it is exceeded by this part of it, so that few turns pay for it."""


class StoredEvents:
    """What the store has of one session's events."""

    def __init__(self, store: Store, stored: StoredSession, max_bytes: int) -> None:
        """max_bytes: about how much the store keeps."""
        self._store = store
        self._ref = stored.ref
        self._max_bytes = max_bytes
        self._kept = stored.kept
        self.through_seq = stored.head_seq
        """The last number of what is kept, or was."""

    @property
    def oldest_seq(self) -> int:
        """The oldest number that is kept; through_seq + 1: none."""
        return self._kept.oldest_seq or self.through_seq + 1

    def rows(self, entries: Iterable[Entry]) -> list[EventRow]:
        """What comes after through_seq, as the store keeps it."""
        rows: list[EventRow] = []
        begin_bytes = self._kept.end_bytes
        for part in _parts(entries):
            events = store_pb2.StoredEvents()
            for entry in part:
                _add(events.events.add(), entry)
            rows.append(EventRow(part[0].first_seq, part[-1].seq, begin_bytes, events.SerializeToString()))
            begin_bytes = rows[-1].end_bytes
        return rows

    def written(self, rows: Sequence[EventRow]) -> bool:
        """The store has these rows; whether so much is kept now that it should be trimmed."""
        if not rows:
            return False
        if not self._kept.oldest_seq:
            self._kept = EventExtent(rows[0].first_seq, rows[0].begin_bytes)
        self._kept = replace(self._kept, end_bytes=rows[-1].end_bytes)
        self.through_seq = rows[-1].seq
        kept_bytes = self._kept.end_bytes - self._kept.begin_bytes
        return kept_bytes > self._max_bytes + self._max_bytes // _SLACK

    @property
    def due_bytes(self) -> int:
        """Rows that begin before this go with the next trim."""
        return self._kept.end_bytes - self._max_bytes

    def trimmed(self, trim: Trim) -> None:
        """The store has dropped them."""
        self._kept = trim.kept

    async def entries(self, after_seq: int) -> list[Entry]:
        """Some of what comes after a seq, from the first that is kept on; empty: nothing is. Raises StoreUnavailable,
        SessionCorrupt."""
        if after_seq >= self.through_seq:
            return []
        rows = await self._store.read_events(self._ref, after_seq, READ_BYTES)
        try:
            return [_entry(event) for row in rows for event in to_stored_events(row.events)]
        except DecodeError:
            raise SessionCorrupt from None


def _parts(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Each as large as a row may be."""
    part: list[Entry] = []
    room_bytes = _ROW_BYTES
    for entry in entries:
        if part and entry.size_bytes > room_bytes:
            yield part
            part, room_bytes = [], _ROW_BYTES
        part.append(entry)
        room_bytes -= entry.size_bytes
    if part:
        yield part


def _add(stored: store_pb2.StoredEvent, entry: Entry) -> None:
    if isinstance(entry, Single):
        stored.event.MergeFrom(entry.event)
        return
    stored.event.MergeFrom(entry.merged(entry.first_seq - 1, entry.seq))
    stored.piece_bytes.extend(end - begin for begin, end in pairwise((0, *entry.ends)))


def _entry(stored: store_pb2.StoredEvent) -> Entry:
    event = stored.event
    if not stored.piece_bytes:
        return Single.of(event)
    return TextRun(
        first_seq=event.first_seq or event.seq,
        epoch=Epoch(event.epoch),
        turn_id=event.turn_id,
        attempt=event.attempt,
        time_ns=event.time.ToNanoseconds(),
        offset=event.text_delta.offset,
        text=bytearray(event.text_delta.text.encode()),
        ends=array("I", accumulate(stored.piece_bytes)),
    )
