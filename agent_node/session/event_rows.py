"""The rows in which a store keeps a session's events.

Guarantees: a row is small or one large event, so that reading on from a seq never costs much more than what is read;
text is kept as one event with the length of each piece, so that it can be cut at any seq. Called for every turn
(stored_events.py): what is usual, pieces of few bytes that fit in one row, is made without further steps.
"""

from collections.abc import Sequence

from agent_node.events.encoding import stored_event
from agent_node.events.entries import READ_BYTES, Entry, Single
from agent_node.store import EventRow

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


def _encoded(entry: Entry) -> bytes:
    if isinstance(entry, Single):
        return stored_event(entry.whole().raw, ())
    pieces, begin = [], 0
    for end in entry.ends:
        pieces.append(end - begin)
        begin = end
    return stored_event(entry.merged(entry.first_seq - 1, entry.seq).raw, pieces)
