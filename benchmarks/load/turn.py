"""One turn as its events come, and what became of it.

Guarantees that a turn ends as completed only if its last event says so and its text is whole: each delta begins where
the one before it ended, and its bytes and words are as many as announced. Numbers and owners are the session's
(`checks`). Called by `sessions`; `measure` takes the outcome.
"""

from dataclasses import dataclass

from agentring.v1 import session_pb2
from benchmarks.load.checks import Fault


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a turn, or a session's end, is not as it should be."""

    kind: str
    """Who says so: `rpc` (the call's ErrorInfo), `grpc` (the call's status, without an ErrorInfo), `turn_failed`,
    `turn_cancelled`, `turn_rejected` (the turn's last event), `client` (a time-out here, a turn not started, ...) or
    `check` (a Fault)."""
    reason: str


TURN_TIMEOUT = Problem("client", "TURN_TIMEOUT")
STREAM_ENDED = Problem("client", "STREAM_ENDED_EARLY")


@dataclass(frozen=True, slots=True)
class TurnOutcome:
    """What became of one turn. Times are the clock's, in seconds."""

    started_s: float
    first_event_s: float | None
    first_text_s: float | None
    ended_s: float
    events: int
    """Events received, whatever each of them covers."""
    text_bytes: int
    problems: frozenset[Problem]

    @property
    def completed(self) -> bool:
        """Whether it ended in turn_completed and nothing was wrong with it."""
        return not self.problems

    @property
    def timed_out(self) -> bool:
        """Whether this side gave up waiting."""
        return TURN_TIMEOUT in self.problems


class TurnReading:
    """Takes one turn's events."""

    def __init__(self, turn_id: str, started_s: float, tokens: int | None) -> None:
        """`tokens`: how many the agent was asked for; None: its answer is not known."""
        self.turn_id = turn_id
        self.started_s = started_s
        self.ended = False
        self._tokens = tokens
        self._first_event_s: float | None = None
        self._first_text_s: float | None = None
        self._ended_s = 0.0
        self._events = 0
        self._text = bytearray()
        self._problems: set[Problem] = set()

    def problem(self, problem: Problem) -> None:
        """The turn is not as it should be; the same problem counts once a turn."""
        self._problems.add(problem)

    def fault(self, fault: Fault | None) -> None:
        """As `problem`, for what a check found; None: nothing."""
        if fault is not None:
            self._problems.add(Problem("check", fault))

    def take(self, event: session_pb2.Event, now_s: float) -> None:
        """One event of the session, which need not be of this turn."""
        self._events += 1
        body = event.WhichOneof("body")
        running = self._first_event_s is not None and not self.ended
        if body == "gap" and (running or event.turn_id == self.turn_id):
            self.fault(Fault.EVENTS_LOST)
        # A frame that is refused for its turn_id is answered without one.
        if event.turn_id != self.turn_id and (event.turn_id or body != "turn_rejected"):
            return
        if self._first_event_s is None:
            self._first_event_s = now_s
        if body == "text_delta":
            if self._first_text_s is None:
                self._first_text_s = now_s
            self._take_text(event.text_delta)
        elif body == "attempt_restarted":
            self._text.clear()
        elif body == "turn_completed":
            self._end(now_s)
            self._check_completed(event.turn_completed)
        elif body == "turn_failed":
            self._end(now_s, Problem(body, event.turn_failed.reason))
        elif body == "turn_cancelled":
            self._end(now_s, Problem(body, event.turn_cancelled.reason))
        elif body == "turn_rejected":
            self._end(now_s, Problem(body, event.turn_rejected.reason))

    def outcome(self, now_s: float) -> TurnOutcome:
        """What became of it, as far as it came by now."""
        return TurnOutcome(
            started_s=self.started_s,
            first_event_s=self._first_event_s,
            first_text_s=self._first_text_s,
            ended_s=self._ended_s if self.ended else now_s,
            events=self._events,
            text_bytes=len(self._text),
            problems=frozenset(self._problems),
        )

    def _end(self, now_s: float, problem: Problem | None = None) -> None:
        self.ended = True
        self._ended_s = now_s
        if problem is not None:
            self._problems.add(problem)

    def _take_text(self, delta: session_pb2.TextDelta) -> None:
        text, have = delta.text.encode(), len(self._text)
        known = have - delta.offset
        if known < 0:
            self.fault(Fault.TEXT_GAP)
        elif known > 0:
            # A resume inside a merged delta sends it whole, so a repeated beginning is no fault.
            if text[:known] != self._text[delta.offset : delta.offset + len(text)]:
                self.fault(Fault.TEXT_DIFFERS)
            elif len(text) <= known:
                self.fault(Fault.TEXT_REPEATED)
        self._text += text[max(known, 0) :]

    def _check_completed(self, completed: session_pb2.TurnCompleted) -> None:
        if completed.text_bytes != len(self._text):
            self.fault(Fault.TEXT_BYTES_WRONG)
        if self._tokens is None:
            return
        announced = completed.result["tokens"] if "tokens" in completed.result.fields else None
        if announced != self._tokens or len(self._text.split()) != self._tokens:
            self.fault(Fault.TOKENS_WRONG)
