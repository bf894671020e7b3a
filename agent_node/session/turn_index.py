"""A session's turns in memory: all that have not ended, and of those that have the latest, within a bound.

Guarantees: a turn that has not ended is known; one that has ended is known until newer ones have taken its place, and
can be read from the store after that; who follows a turn learns its end also where the turn was forgotten since.
"""

from collections.abc import Iterable
from dataclasses import replace

from agent_node.store import StoredTurn

_MAX_BYTES = 64 << 10
_TURN_BYTES = 512
"""About what a turn takes beside its outcome."""


class TurnEnd:
    """Where a turn's events end."""

    __slots__ = ("seq",)

    def __init__(self, seq: int | None) -> None:
        self.seq = seq
        """Of its last event; None: it has not ended."""


class TurnIndex:
    """Turns by turn_id."""

    def __init__(self, turns: Iterable[StoredTurn], max_bytes: int = _MAX_BYTES) -> None:
        """max_bytes: about how much memory those that have ended may take; the latest one is kept in any case."""
        self._max_bytes = max_bytes
        self._open: dict[str, StoredTurn] = {}
        self._ended: dict[str, StoredTurn] = {}
        self._ended_bytes = 0
        self._ends: dict[str, TurnEnd] = {}
        """Of turns that have not ended."""
        for turn in turns:
            self.put(turn)

    @property
    def open(self) -> list[StoredTurn]:
        """Those that have not ended, in the order of their acceptance."""
        return list(self._open.values())

    @property
    def has_open(self) -> bool:
        """Whether one has not ended."""
        return bool(self._open)

    def is_open(self, turn_id: str) -> bool:
        """Whether it was accepted and has not ended."""
        return turn_id in self._open

    def ended_after(self, seq: int) -> list[StoredTurn]:
        """Those that are known to have ended since, in the order of their ends."""
        return sorted((turn for turn in self._ended.values() if _end(turn) > seq), key=_end)

    def get(self, turn_id: str) -> StoredTurn | None:
        """None: it was never accepted, or ended long ago."""
        return self._open.get(turn_id) or self._ended.get(turn_id)

    def put(self, turn: StoredTurn) -> None:
        """Knows a turn, or how far it has come."""
        if turn.end_seq is None:
            self._open[turn.turn_id] = turn
            return
        self._open.pop(turn.turn_id, None)
        if (before := self._ended.pop(turn.turn_id, None)) is not None:
            self._ended_bytes -= _size(before)
        if turn.input:
            turn = replace(turn, input=b"")  # nobody runs it any more
        self._ended[turn.turn_id] = turn
        self._ended_bytes += _size(turn)
        while self._ended_bytes > self._max_bytes and len(self._ended) > 1:
            self._ended_bytes -= _size(self._ended.pop(next(iter(self._ended))))
        if (end := self._ends.pop(turn.turn_id, None)) is not None:
            end.seq = turn.end_seq

    def follow(self, turn: StoredTurn) -> TurnEnd:
        """The turn's end; its seq is set once it has come."""
        if turn.turn_id in self._open:
            return self._ends.setdefault(turn.turn_id, TurnEnd(None))
        known = self._ended.get(turn.turn_id, turn)
        return TurnEnd(known.end_seq)


def _end(turn: StoredTurn) -> int:
    return turn.end_seq or 0


def _size(turn: StoredTurn) -> int:
    return len(turn.outcome) + _TURN_BYTES
