"""What a run says again of what an earlier attempt had told: it is not told again.

Guarantees: words and emitted events up to the last commit of an earlier attempt go nowhere while they are the same (by
their hashes); what comes after them is published. Where they are not the same, nothing is published until it is stored
how far they were (`diverged`): then a further `attempt_restarted` voids what was published beyond that, and the rest is
published. Words are cut at a character. Stands between a run (run_log.py) and its event log.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import groupby

import structlog

from agent_node.run.emitted import EmittedEvents
from agent_node.run.run_input import RunEvents
from agent_node.store.published import NOTHING_PUBLISHED, Published
from agentring.v1 import session_pb2

DIGEST_BYTES = 16
_RESTART = "WORDS_DIFFER"
_PIECE = 4 << 10
"""Characters of one event."""

_log = structlog.get_logger()


class Republished:
    """A RunEvents for one attempt that is not the first."""

    def __init__(
        self,
        log: RunEvents,
        published: Sequence[Published],
        turn_seq: int,
        restart: Callable[[session_pb2.Event], None],
        diverged: Callable[[], None],
    ) -> None:
        """log: where the rest goes; told: what is still valid (still_valid), not empty; turn_seq: as
        attempt_restarted.turn_seq; restart: publishes a further attempt_restarted; diverged: sees to it that `valid` is
        stored, and then calls `go_on`."""
        self._log = log
        self._published = published
        self._turn_seq = turn_seq
        self._restart = restart
        self._diverged = diverged
        self._hash = blake2b(digest_size=DIGEST_BYTES)
        self._text_bytes = 0
        self._events = EmittedEvents()
        self._next = 0
        """The commit that comes next, by its place in `published`."""
        self._held: list[session_pb2.Event | bytes] = []
        """What was said since the last commit that agrees; bytes: words."""
        self._turn = ("", 0)
        self.valid: Published = NOTHING_PUBLISHED
        """The last commit that agrees."""
        self.is_over = False
        """Everything is told from now on."""
        self._is_waiting = False
        """It has diverged, and that is being stored."""
        self._look()

    @property
    def collects_text(self) -> bool:
        """As RunEvents."""
        return self._log.collects_text

    @property
    def last(self) -> Published:
        """What is valid of what earlier attempts told, as far as this one knows."""
        return self.valid if self.is_over or self._is_waiting else self._published[-1]

    def append(self, event: session_pb2.Event) -> int | None:
        """As RunEvents."""
        if self.is_over or not (self._is_waiting or self._events.add(event)):
            return self._log.append(event)
        self._turn = event.turn_id, event.attempt
        held = session_pb2.Event()
        held.CopyFrom(event)
        self._held.append(held)
        if not self._is_waiting:
            self._look()
        return None

    def append_text(self, turn_id: str, attempt: int, offset: int, *texts: str) -> int:
        """As RunEvents."""
        if self.is_over:
            return self._log.append_text(turn_id, attempt, offset, *texts)
        self._turn = turn_id, attempt
        pieces = [text.encode() for text in texts]
        for piece in pieces:
            if rest := self._compare(piece):
                self._say(rest)
        return sum(map(len, pieces))

    def finish(self) -> None:
        """The agent has come to its end."""
        if not (self.is_over or self._is_waiting):
            self._differ()

    def go_on(self) -> None:
        """What is valid is stored: the rest is told. Raises what the log raises."""
        held, self._held = self._held, []
        self.is_over, self._is_waiting = True, False
        turn_id, attempt = self._turn
        restarted = session_pb2.AttemptRestarted(reason=_RESTART)
        if self.valid.seq:
            restarted.valid_through_seq, restarted.valid_text_bytes = self.valid.seq, self.valid.text_bytes
            restarted.turn_seq, restarted.valid_numbers = self._turn_seq, self.valid.numbers
        self._restart(session_pb2.Event(turn_id=turn_id, attempt=attempt, attempt_restarted=restarted))
        offset = self.valid.text_bytes
        for are_words, some in groupby(held, lambda each: isinstance(each, bytes)):
            if are_words:  # cut at what an earlier attempt said, perhaps within a character
                words = b"".join(each for each in some if isinstance(each, bytes)).decode()
                for begin in range(0, len(words), _PIECE):
                    offset += self._log.append_text(turn_id, attempt, offset, words[begin : begin + _PIECE])
            else:
                for each in some:
                    assert isinstance(each, session_pb2.Event)
                    self._log.append(each)

    def _compare(self, piece: bytes) -> bytes:
        """What of the words is not compared any more."""
        while piece and not (self.is_over or self._is_waiting):
            room = self._published[self._next].text_bytes - self._text_bytes
            if room <= 0:  # words, where an event was emitted before
                self._pass()
                continue
            part, piece = piece[:room], piece[room:]
            self._hash.update(part)
            self._text_bytes += len(part)
            self._held.append(part)
            self._look()
        return piece

    def _say(self, words: bytes) -> None:
        if not self.is_over:
            self._held.append(words)
            return
        turn_id, attempt = self._turn
        self._text_bytes += self._log.append_text(turn_id, attempt, self._text_bytes, words.decode())

    def _look(self) -> None:
        """Whether it has come to a commit."""
        while not (self.is_over or self._is_waiting):
            published = self._published[self._next]
            events = self._events
            if (self._text_bytes, events.count) == (published.text_bytes, published.events):
                if (self._hash.digest(), events.digest) == (published.digest, published.events_digest):
                    self.valid = published
                    self._held.clear()
            elif self._text_bytes <= published.text_bytes and events.count <= published.events:
                return
            self._pass()

    def _pass(self) -> None:
        """It is beyond a commit."""
        self._next += 1
        if self._next == len(self._published):
            if self.valid is self._published[-1]:
                self.is_over = True
            else:
                self._differ()

    def _differ(self) -> None:
        self._is_waiting = True
        _log.warning(
            "words_differ", valid_text_bytes=self.valid.text_bytes, published_text_bytes=self._published[-1].text_bytes
        )
        self._diverged()
