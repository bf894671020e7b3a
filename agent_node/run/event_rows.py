"""The rows in which a store keeps the events of a session or a task's run.

Guarantees: a row is small or one large event, so that reading on from a seq never costs much more than what is read;
text is kept as one event with the length of each piece, so that it can be cut at any seq. Called for every turn
(stored_events.py): what is usual, pieces of few bytes that fit in one row, is made without further steps.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

from agent_node.events.encoding import stored_event
from agent_node.events.entries import READ_BYTES, Entry, Single, TextRun
from agent_node.store import EventRow
from agent_node.store.readable import to_stored_events
from agentring.ids import Epoch
from agentring.v1 import store_pb2

_ROW_BYTES = READ_BYTES
"""About the most that goes into one row."""


def event_rows(entries: Sequence[Entry], begin_bytes: int) -> list[EventRow]:
    """Consecutive entries as rows. begin_bytes: how many bytes of the session's events were kept before."""
    rows: list[EventRow] = []
    part: list[bytes] = []
    left_bytes, first_seq, seq = _ROW_BYTES, 0, 0
    for entry in entries:
        size_bytes = entry.size_bytes
        if part and size_bytes > left_bytes:
            rows.append(EventRow(first_seq, seq, begin_bytes, b"".join(part)))
            begin_bytes = rows[-1].end_bytes
            part, left_bytes = [], _ROW_BYTES
        if not part:
            first_seq = entry.first_seq
        seq = entry.seq
        part.append(_encoded(entry))
        left_bytes -= size_bytes
    if part:
        rows.append(EventRow(first_seq, seq, begin_bytes, b"".join(part)))
    return rows


def entries_of(rows: Iterable[EventRow]) -> list[Entry]:
    """What the rows were made of. Raises DecodeError."""
    return [_entry(event) for row in rows for event in to_stored_events(row.events)]


def _encoded(entry: Entry) -> bytes:
    if isinstance(entry, Single):
        return stored_event(entry.whole().raw, ())
    pieces, begin = [], 0
    for end in entry.ends:
        pieces.append(end - begin)
        begin = end
    return stored_event(entry.merged(entry.first_seq - 1, entry.seq).raw, pieces)


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
