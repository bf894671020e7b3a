"""When turns are due, and that a stalled server shows in an open loop's percentiles."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.load.measure import Tally
from benchmarks.load.plan import Plan
from benchmarks.load.schedule import due_s, run_schedule
from benchmarks.load.turn import TurnOutcome

START_S = 1000.0


class FakeClock:
    """Time passes only where somebody waits."""

    def __init__(self) -> None:
        self.time_s = START_S

    def now(self) -> float:
        return self.time_s

    async def wait_until(self, at_s: float, stop: asyncio.Event) -> None:
        self.time_s = max(self.time_s, at_s)


class FakeSession:
    """Answers after 1 ms, but the turn `stalled` only after 5 s."""

    def __init__(self, clock: FakeClock, stalled: int) -> None:
        self._clock = clock
        self._stalled = stalled

    async def run_turn(self, number: int) -> TurnOutcome:
        started_s = self._clock.time_s
        self._clock.time_s += 5.0 if number == self._stalled else 0.001
        ended_s = self._clock.time_s
        return TurnOutcome(started_s, ended_s, ended_s, ended_s, events=1, text_bytes=0, problems=frozenset())


async def with_a_stall(rate: float | None) -> Tally:
    clock = FakeClock()
    tally = Tally(START_S)

    @asynccontextmanager
    async def open_session(index: int) -> AsyncIterator[FakeSession]:
        yield FakeSession(clock, stalled=10)

    plan = Plan(sessions=1, concurrency=1, turns=100, rate=rate)
    await run_schedule(plan, open_session, tally, clock, asyncio.Event())
    return tally


async def test_a_stall_shows_in_an_open_loop() -> None:
    # Ten turns a second: while the server stalls for 5 s, 50 turns are due and wait for up to 5 s.
    latencies = (await with_a_stall(rate=10.0)).turn.percentiles()
    assert latencies.count == 100
    assert latencies.p50 == pytest.approx(50, abs=60)
    assert latencies.p90 == pytest.approx(4000, rel=0.1)
    assert latencies.p99 == pytest.approx(4950, rel=0.02)
    assert latencies.max == pytest.approx(5000, rel=0.01)


async def test_the_wait_is_told_apart_from_the_server() -> None:
    delays = (await with_a_stall(rate=10.0)).start_delay.percentiles()
    assert delays.p99 == pytest.approx(4800, rel=0.03)


async def test_a_closed_loop_hides_the_stall() -> None:
    # This is why the report says which loop it was.
    latencies = (await with_a_stall(rate=None)).turn.percentiles()
    assert latencies.p99 == pytest.approx(1, rel=0.01)
    assert latencies.max == pytest.approx(5000, rel=0.01)


def test_turns_are_due_evenly_and_in_groups() -> None:
    # 5 sessions, 2 at a time, 3 turns each, 10 a second: two groups of 2, one of 1.
    plan = Plan(sessions=5, concurrency=2, turns=3, rate=10.0)
    due = {(i, n): due_s(plan, START_S, i, n) for i in range(5) for n in range(3)}
    in_order = sorted(due, key=lambda turn: due[turn] or 0.0)
    assert in_order == [
        *[(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)],
        *[(2, 0), (3, 0), (2, 1), (3, 1), (2, 2), (3, 2)],
        *[(4, 0), (4, 1), (4, 2)],
    ]
    assert sorted(s or 0.0 for s in due.values()) == pytest.approx([START_S + k / 10 for k in range(15)])


def test_nothing_is_due_in_a_closed_loop() -> None:
    assert due_s(Plan(), START_S, 3, 4) is None


async def test_at_most_so_many_sessions_are_open() -> None:
    clock = FakeClock()
    is_open: set[int] = set()
    most_open = 0
    opened: list[int] = []

    class YieldingSession(FakeSession):
        async def run_turn(self, number: int) -> TurnOutcome:
            await asyncio.sleep(0)  # lets the other workers open theirs
            return await super().run_turn(number)

    @asynccontextmanager
    async def open_session(index: int) -> AsyncIterator[FakeSession]:
        nonlocal most_open
        is_open.add(index)
        opened.append(index)
        most_open = max(most_open, len(is_open))
        yield YieldingSession(clock, stalled=-1)
        is_open.remove(index)

    tally = Tally(START_S)
    plan = Plan(sessions=10, concurrency=3, turns=2)
    await run_schedule(plan, open_session, tally, clock, asyncio.Event())
    assert most_open == 3
    assert sorted(opened) == list(range(10))
    assert (tally.started, tally.completed) == (20, 20)


async def test_no_turn_is_started_after_the_stop() -> None:
    clock = FakeClock()
    stop = asyncio.Event()

    class StoppingSession(FakeSession):
        async def run_turn(self, number: int) -> TurnOutcome:
            if number == 2:
                stop.set()
            return await super().run_turn(number)

    @asynccontextmanager
    async def open_session(index: int) -> AsyncIterator[FakeSession]:
        yield StoppingSession(clock, stalled=-1)

    tally = Tally(START_S)
    await run_schedule(Plan(sessions=4, concurrency=1, turns=5), open_session, tally, clock, stop)
    # The turn under way still counts.
    assert (tally.started, tally.completed) == (3, 3)
