"""How far a stream of events has come: what comes twice is dropped, what is void is said to be.

Guarantees, however often the stream is opened again and wherever it was cut: every number is passed on once; the words
passed on for one attempt of a turn are a prefix of what the agent said, byte for byte, unless a Gap lies between; where
a turn is run again an AttemptRestarted comes before its new words, also if nobody sent one. Pure: no I/O. Called by
streams.py.

The race that is met here: a resent request is answered from the turn's first event, by an owner that may have merged
the words elsewhere than the one before.
"""

from dataclasses import dataclass

from agentring.client.event_reading import read_event, read_restart, read_words
from agentring.client.events import ENDS, AttemptRestarted, Event
from agentring.v1 import session_pb2

_OUTSIDE = frozenset({"opened", "heartbeat", "go_away", "turn_rejected"})


@dataclass(slots=True)
class _Turn:
    attempt: int
    text_end: int = 0
    started: bool = False


class Progress:
    """Of one stream, across the calls that carry it."""

    def __init__(self, seq: int | None = None) -> None:
        """seq: the last number that is known already; None: not said yet."""
        self.seq = seq
        self._epoch = 0
        self._turns: dict[str, _Turn] = {}

    def reach(self, through_seq: int) -> None:
        """The stream has been sent everything up to here."""
        self.seq = max(self.seq or 0, through_seq)

    def take(self, raw: session_pb2.Event) -> list[Event]:
        """What is new in an event, in order."""
        body = raw.WhichOneof("body")
        if body in _OUTSIDE:
            return []
        known = self.seq or 0
        restart: list[Event] = []
        if self._begins_anew(raw):
            known = min(known, raw.seq - 1)
            restart = [read_restart(raw, "NODE_LOST")]
            del self._turns[raw.turn_id]
        elif raw.seq <= known:
            return []
        self.seq = raw.seq
        self._epoch = max(self._epoch, raw.epoch)
        if body == "gap":
            return [read_event(raw)]
        turn = self._turns.setdefault(raw.turn_id, _Turn(raw.attempt))
        if raw.attempt < turn.attempt:
            return []
        if raw.attempt > turn.attempt:
            turn.attempt = raw.attempt
            if body != "attempt_restarted":
                restart = [read_restart(raw, "NODE_LOST")]
                turn.text_end = 0
        if body == "text_delta":
            return restart + self._words(raw, turn, known)
        event = read_event(raw)
        if isinstance(event, AttemptRestarted):
            turn.text_end = min(turn.text_end, event.valid_text_bytes)
        elif body == "turn_started":
            turn.started = True
        elif isinstance(event, ENDS):
            del self._turns[raw.turn_id]
        return [*restart, event]

    def _begins_anew(self, raw: session_pb2.Event) -> bool:
        """With a store that keeps nothing, a later owner knows nothing of the run that it is asked for again: it begins
        it as another one, and its numbers may begin again too."""
        turn = self._turns.get(raw.turn_id)
        if turn is None or raw.epoch <= self._epoch or raw.attempt > turn.attempt:
            return False
        return raw.HasField("turn_accepted") or (raw.HasField("turn_started") and turn.started)

    @staticmethod
    def _words(raw: session_pb2.Event, turn: _Turn, known: int) -> list[Event]:
        offset, words = raw.text_delta.offset, raw.text_delta.text.encode()
        repeated = min(max(0, turn.text_end - offset), len(words))
        turn.text_end = max(turn.text_end, offset + len(words))
        if repeated and repeated == len(words):
            return []
        first_seq = max(raw.first_seq or raw.seq, known + 1)
        return [read_words(raw, first_seq, offset + repeated, words[repeated:].decode())]
