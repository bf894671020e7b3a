"""A session's event log in the store: its numbers, what is stored, when the oldest is dropped, and how it is read.

Guarantees: events are stored up to the session's head_seq, without a gap except where memory had dropped them before (a
turn with more events than `max_log_bytes`); they are stored merged, and can be cut at any seq (event_rows.py); beyond
the bound the oldest turns' events are dropped first. What a turn that runs has published is not here: it is provisional
until the turn has ended.

A session's writes go one at a time: `rows` is what the next one must store, `written` says that it has. Used by the
session's stages, and through the event log by every stream that reads from far back.
"""

from collections.abc import Hashable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from agent_node.events.entries import READ_BYTES, Entry, Single
from agent_node.events.log import EventLog
from agent_node.events.numbers import NumberRange
from agent_node.run.event_rows import entries_of, event_rows
from agent_node.run.restarts import published_through
from agent_node.session.fenced_writer import FencedWriter
from agent_node.single_flight import SingleFlight
from agent_node.store import SEQ_RANGE, EventExtent, EventRow, Ownership, Store, StoredSession
from agentring.errors import SessionCorrupt

_SLACK = 8
"""The bound is met again once it is exceeded by this part of it, so that few turns pay for it."""


class StoredEvents:
    """What the store has of one session's events."""

    def __init__(
        self,
        store: Store,
        ownership: Ownership,
        stored: StoredSession,
        writer: FencedWriter,
        flights: SingleFlight[Hashable, Any],
        max_bytes: int,
    ) -> None:
        """flights: of the session; max_bytes: about how much the store keeps."""
        self._store = store
        self._ownership = ownership
        self._writer = writer
        self._flights = flights
        self._max_bytes = max_bytes
        self._extent = stored.kept
        self.numbers = NumberRange(stored.log_seq, stored.reserved_seq, self._extend_soon)
        self.through_seq = stored.head_seq
        """The last number of what is stored, or was."""

    @property
    def oldest_seq(self) -> int:
        """The oldest number that is stored; through_seq + 1: none."""
        return self._extent.oldest_seq or self.through_seq + 1

    def rows(self, log: EventLog, head_seq: int | None, last: Single | None = None) -> list[EventRow]:
        """What the write that gives the session this head_seq must store. last: what will be published once it is
        written."""
        if head_seq is None or not self._store.durable:
            return []
        entries = log.entries(self.through_seq)
        if last is not None:
            entries.append(last)
        return event_rows(entries, self._extent.end_bytes)

    def rows_through(self, log: EventLog, seq: int) -> list[EventRow]:
        """What a write within a turn must store: what was told up to a seq at which the log was cut."""
        if seq <= self.through_seq:
            return []
        return event_rows(published_through(log, self.through_seq, seq), self._extent.end_bytes)

    def written(self, rows: Sequence[EventRow]) -> None:
        """The store has these rows."""
        if not rows:
            return
        kept, end_bytes = self._extent, rows[-1].end_bytes
        if kept.oldest_seq:
            self._extent = EventExtent(kept.oldest_seq, kept.begin_bytes, end_bytes)
        else:
            self._extent = EventExtent(rows[0].first_seq, rows[0].begin_bytes, end_bytes)
        self.through_seq = rows[-1].seq

    def trim_soon(self, rows: Sequence[EventRow]) -> None:
        """Begins to drop the oldest events, if the bound is exceeded by enough. rows: those of the last write; a write
        without any comes before or within a turn, whose own writes would wait for that."""
        if not rows:
            return
        stored_bytes = self._extent.end_bytes - self._extent.begin_bytes
        if stored_bytes > self._max_bytes + self._max_bytes // _SLACK:
            self._flights.begin(StoredEvents._trim, self._trim)

    async def entries(self, after_seq: int) -> list[Entry]:
        """Some of what comes after a seq, from the first that is stored on; empty: nothing is. Raises StoreUnavailable,
        SessionCorrupt."""
        if after_seq >= self.through_seq:
            return []
        rows = await self._store.read_events(self._ownership.ref, after_seq, READ_BYTES)
        try:
            return entries_of(rows)
        except DecodeError:
            raise SessionCorrupt from None

    async def _trim(self) -> None:
        async with self._writer:
            before_bytes = self._extent.end_bytes - self._max_bytes
            trimmed = await self._store.trim_events(self._ownership, before_bytes)
        self._extent = trimmed.kept

    def _extend_soon(self) -> None:
        self._flights.begin(StoredEvents._extend, self._extend)

    async def _extend(self) -> None:
        reserved_seq = self.numbers.reserved_seq + SEQ_RANGE
        async with self._writer:
            await self._store.extend_range(self._ownership, reserved_seq)
        self.numbers.extend(reserved_seq)
