"""What became of the turns, as numbers: latencies, throughput second by second, counts.

Guarantees that memory does not grow with the number of turns: a latency is counted in a histogram (0.1 % wide steps
over the run, 1 % within one second), a second that has passed becomes one row. Latencies are those of completed turns
and of turns that timed out, which count with the time they were waited for: left out, they would make a server that
hangs look fast. Turns that failed otherwise are counted, not timed. Called by `schedule` and `sessions`; read by
`report`.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

from benchmarks.load.turn import Problem, TurnOutcome

_MAX_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Percentiles:
    """A distribution of latencies, in milliseconds; None: there were none."""

    count: int
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


class Latency:
    """Counts latencies from 1 microsecond to 1 hour; longer ones count as 1 hour."""

    def __init__(self, digits: int = 3) -> None:
        """`digits`: significant decimal digits that are kept."""
        self._histogram = HdrHistogram(1, _MAX_US, digits)

    def record(self, latency_s: float) -> None:
        """One latency, in seconds."""
        self._histogram.record_value(min(max(round(latency_s * 1e6), 1), _MAX_US))

    def percentiles(self) -> Percentiles:
        """The distribution so far."""
        count = self._histogram.get_total_count()
        if not count:
            return Percentiles(0, None, None, None, None)
        at = self._histogram.get_percentile_to_value_dict([50, 90, 99])
        longest = self._histogram.get_max_value()
        # A percentile is the upper end of its step, which may lie beyond the longest.
        p50, p90, p99 = (round(min(at[percentile], longest) / 1e3, 3) for percentile in (50, 90, 99))
        return Percentiles(count, p50, p90, p99, round(longest / 1e3, 3))


@dataclass(frozen=True, slots=True)
class Second:
    """What ended in one second of the run."""

    second: int
    """Counted from the run's start, from 0."""
    length_s: float
    """1, or less in the run's last row."""
    completed: int
    failed: int
    events: int
    turn_ms: Percentiles


class Series:
    """The run, second by second. Outcomes must come in the order of their times."""

    def __init__(self, start_s: float) -> None:
        """`start_s`: when the run began, by the clock of the outcomes."""
        self._start_s = start_s
        self._rows: list[Second] = []
        self._begin(0)

    def record(self, now_s: float, completed: bool, events: int, latency_s: float | None) -> None:
        """One turn that ended now; `latency_s` None: it is not timed."""
        self._pass_to(self._second_of(now_s))
        self._completed += completed
        self._failed += not completed
        self._events += events
        if latency_s is not None:
            self._latency.record(latency_s)

    def rows(self, end_s: float) -> list[Second]:
        """Every second until the run's end; nothing may be recorded afterwards."""
        self._pass_to(self._second_of(end_s))
        rest_s = end_s - self._start_s - self._second
        return self._rows if rest_s <= 0 else [*self._rows, self._row(rest_s)]

    def _second_of(self, at_s: float) -> int:
        # A turn that ends the run on the stroke of a second belongs to the one before: there is none behind it.
        return max(math.ceil(at_s - self._start_s) - 1, 0)

    def _pass_to(self, second: int) -> None:
        while self._second < second:
            self._rows.append(self._row(1.0))
            self._begin(self._second + 1)

    def _row(self, length_s: float) -> Second:
        return Second(
            second=self._second,
            length_s=round(length_s, 3),
            completed=self._completed,
            failed=self._failed,
            events=self._events,
            turn_ms=self._latency.percentiles(),
        )

    def _begin(self, second: int) -> None:
        self._second = second
        self._completed = self._failed = self._events = 0
        self._latency = Latency(digits=2)


class Tally:
    """Everything that is counted during one run."""

    def __init__(self, start_s: float, may_move: bool = False) -> None:
        """`may_move`: a session's move is counted but is no problem."""
        self.start_s = start_s
        self.may_move = may_move
        self.started = self.completed = self.failed = 0
        self.events = self.text_bytes = 0
        self.turn, self.first_event, self.first_text, self.start_delay = (Latency() for _ in range(4))
        self.problems: Counter[Problem] = Counter()
        self.sessions_by_node: Counter[str] = Counter()
        self.sessions_ended = self.sessions_moved = self.moves = 0
        self.series = Series(start_s)
        self.last_turn_ended_s = start_s

    def turn_started(self) -> None:
        """A turn is about to be sent."""
        self.started += 1

    def turn_ended(self, outcome: TurnOutcome, due_s: float | None) -> None:
        """A turn has its outcome; latencies count from `due_s`, or from its start where it was not due at a time."""
        since_s = outcome.started_s if due_s is None else due_s
        self.start_delay.record(outcome.started_s - since_s)
        latency_s = outcome.ended_s - since_s if outcome.completed or outcome.timed_out else None
        if latency_s is not None:
            self.turn.record(latency_s)
            # A turn that never showed an event has waited for it all the while.
            shown_s = outcome.ended_s if outcome.first_event_s is None else outcome.first_event_s
            self.first_event.record(shown_s - since_s)
        if outcome.first_text_s is not None:
            self.first_text.record(outcome.first_text_s - since_s)
        self.completed += outcome.completed
        self.failed += not outcome.completed
        self.events += outcome.events
        self.text_bytes += outcome.text_bytes
        self.problems.update(outcome.problems)
        # The end is taken as now: outcomes come in order, but a problem may have followed the turn's last event.
        self.last_turn_ended_s = max(self.last_turn_ended_s, outcome.ended_s)
        self.series.record(self.last_turn_ended_s, outcome.completed, outcome.events, latency_s)

    def stream_ended(self, problems: Iterable[Problem]) -> None:
        """A stream has been closed; what was wrong with its end."""
        self.problems.update(problems)

    def session_ended(self, node: str, moves: int) -> None:
        """A session has had its turns; `node` served it first, and it moved so many times."""
        self.sessions_ended += 1
        self.sessions_by_node[node or "(never told)"] += 1
        self.moves += moves
        self.sessions_moved += bool(moves)
