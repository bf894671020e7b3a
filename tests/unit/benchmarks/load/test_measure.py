"""Latencies, the series of seconds, the tally."""

import pytest

from benchmarks.load.measure import Latency, Percentiles, Series, Tally
from benchmarks.load.turn import TURN_TIMEOUT, Problem, TurnOutcome


def outcome(started_s: float, ended_s: float, *problems: Problem, first_event_s: float | None = None) -> TurnOutcome:
    return TurnOutcome(
        started_s=started_s,
        first_event_s=first_event_s,
        first_text_s=None,
        ended_s=ended_s,
        events=3,
        text_bytes=10,
        problems=frozenset(problems),
    )


def test_no_latencies_have_no_percentiles() -> None:
    assert Latency().percentiles() == Percentiles(0, None, None, None, None)


def test_percentiles_are_exact_to_a_thousandth() -> None:
    latency = Latency()
    for milliseconds in range(1, 1001):
        latency.record(milliseconds / 1000)
    found = latency.percentiles()
    assert found.count == 1000
    assert [found.p50, found.p90, found.p99, found.max] == pytest.approx([500, 900, 990, 1000], rel=0.001)


def test_a_percentile_never_exceeds_the_longest() -> None:
    latency = Latency(digits=2)
    latency.record(0.123457)
    found = latency.percentiles()
    assert found.p50 == found.p99 == found.max


def test_a_latency_beyond_the_range_counts_as_its_end() -> None:
    latency = Latency()
    latency.record(0.0)
    latency.record(1e9)
    found = latency.percentiles()
    assert found.count == 2
    assert found.max == pytest.approx(3_600_000, rel=0.001)


def test_the_series_has_every_second() -> None:
    series = Series(start_s=100.0)
    series.record(100.2, completed=True, events=5, latency_s=0.1)
    series.record(100.9, completed=False, events=1, latency_s=None)
    series.record(103.1, completed=True, events=7, latency_s=0.3)
    rows = series.rows(end_s=103.5)
    assert [(row.second, row.length_s, row.completed, row.failed, row.events) for row in rows] == [
        (0, 1.0, 1, 1, 6),
        (1, 1.0, 0, 0, 0),
        (2, 1.0, 0, 0, 0),
        (3, 0.5, 1, 0, 7),
    ]
    assert rows[1].turn_ms.p50 is None
    assert rows[3].turn_ms.p50 == pytest.approx(300, rel=0.01)


def test_the_last_turn_is_in_the_series_wherever_it_falls() -> None:
    for end_s in (100.5, 101.0, 101.5, 102.0):
        series = Series(start_s=100.0)
        series.record(end_s, completed=True, events=1, latency_s=0.1)
        assert sum(row.completed for row in series.rows(end_s)) == 1


def test_latency_counts_from_when_the_turn_was_due() -> None:
    tally = Tally(start_s=0.0)
    tally.turn_ended(outcome(5.0, 6.0, first_event_s=5.5), due_s=2.0)
    assert tally.turn.percentiles().max == pytest.approx(4000, rel=0.001)
    assert tally.first_event.percentiles().max == pytest.approx(3500, rel=0.001)
    assert tally.start_delay.percentiles().max == pytest.approx(3000, rel=0.001)


def test_without_a_schedule_latency_counts_from_the_start() -> None:
    tally = Tally(start_s=0.0)
    tally.turn_ended(outcome(5.0, 6.0, first_event_s=5.5), due_s=None)
    assert tally.turn.percentiles().max == pytest.approx(1000, rel=0.001)


def test_a_time_out_counts_with_the_time_waited() -> None:
    tally = Tally(start_s=0.0)
    tally.turn_ended(outcome(0.0, 30.0, TURN_TIMEOUT), due_s=None)
    assert tally.turn.percentiles().max == pytest.approx(30_000, rel=0.001)
    assert tally.first_event.percentiles().max == pytest.approx(30_000, rel=0.001)
    assert (tally.completed, tally.failed) == (0, 1)


def test_another_failure_is_counted_but_not_timed() -> None:
    tally = Tally(start_s=0.0)
    refused = Problem("rpc", "NODE_OVERLOADED")
    tally.turn_ended(outcome(0.0, 0.001, refused), due_s=None)
    assert tally.turn.percentiles().count == 0
    assert tally.problems == {refused: 1}
    assert tally.series.rows(1.0)[0].failed == 1
