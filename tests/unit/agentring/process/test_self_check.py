"""When a process finds that it does not serve any more, and when it must not believe so."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.process.self_check import MIN_FAILURES, REFUSALS, CannotServe, Fault, SelfCheck, Verdict, all_of
from agentring.rpc.probe import ProbeFailed

PATIENCE_S = 30.0
TIMEOUT_S = 6.0


def test_checks_that_fail_for_the_whole_patience_are_a_fault() -> None:
    verdict = Verdict(PATIENCE_S)
    verdict.succeeded()
    assert [verdict.failed(TIMEOUT_S, refused=False) for _ in range(5)] == [False] * 4 + [True]


def test_nobody_listening_is_a_fault_sooner() -> None:
    verdict = Verdict(PATIENCE_S)
    verdict.succeeded()
    assert [verdict.failed(1.0, refused=True) for _ in range(REFUSALS)] == [False, False, True]


def test_one_long_stop_is_none() -> None:
    """A check that a stopped process made counts for its time-out alone; whatever stands after it counts anew."""
    verdict = Verdict(1.0)
    verdict.succeeded()
    assert not any(verdict.failed(1_000.0, refused=False) for _ in range(MIN_FAILURES - 1))
    verdict.succeeded()
    assert not verdict.failing
    assert not verdict.failed(1_000.0, refused=False)


@given(st.lists(st.booleans()))
def test_a_process_that_never_reached_itself_is_left_alone(refused: list[bool]) -> None:
    verdict = Verdict(PATIENCE_S)
    assert not any(verdict.failed(100.0, refused=each) for each in refused)


@given(st.lists(st.tuples(st.floats(0, TIMEOUT_S), st.sampled_from(["answer", "silence", "refusal"]))))
def test_only_failures_one_after_the_other_count(checks: list[tuple[float, str]]) -> None:
    verdict = Verdict(PATIENCE_S)
    verdict.succeeded()
    row: list[tuple[float, str]] = []
    for took_s, outcome in checks:
        if outcome == "answer":
            verdict.succeeded()
            row = []
            continue
        row.append((took_s, outcome))
        over = verdict.failed(took_s, refused=outcome == "refusal")
        refused = [each for _, each in row[-REFUSALS:]] == ["refusal"] * REFUSALS
        waited = len(row) >= MIN_FAILURES and sum(each for each, _ in row) >= PATIENCE_S
        assert over == (refused or waited)


@dataclass
class Answers:
    """A port that answers, or does not."""

    why: str = ""
    refused: bool = False
    asked: threading.Event = field(default_factory=threading.Event)

    def __call__(self, _timeout_s: float) -> None:
        self.asked.set()
        if self.why:
            raise ProbeFailed(self.why, refused=self.refused)


@dataclass
class Stand:
    """A check of 20 ms, with a patience of 0.2 s."""

    port: Answers = field(default_factory=Answers)
    ended: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def end(self, why: str) -> None:
        self.ended.append(why)
        self.over.set()

    def check(self, fault: Fault, grace_s: float) -> SelfCheck:
        return SelfCheck(self.port, fault, interval_s=0.02, patience_s=0.2, grace_s=grace_s, end=self.end)


@pytest.fixture
def stand() -> Stand:
    return Stand()


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 20.0)


async def test_a_fault_is_told_to_the_event_loop_first(stand: Stand) -> None:
    fault = Fault()
    with stand.check(fault, grace_s=0.05):
        await until(stand.port.asked)
        stand.port.why, stand.port.refused = "nobody listens", True
        await asyncio.wait_for(fault.found.wait(), 20.0)
        with pytest.raises(CannotServe, match="nobody listens"):
            fault.check()
        await until(stand.over)  # the event loop did not end the process in time
    assert stand.ended == ["nobody listens"]


async def test_an_event_loop_that_stands_still_cannot_hold_the_end_up(stand: Stand) -> None:
    with stand.check(Fault(), grace_s=0.05):
        await until(stand.port.asked)
        stand.port.why = "silence"
        assert stand.over.wait(20.0)  # the loop is blocked
    assert stand.ended == ["silence"]


async def test_while_it_answers_nothing_happens_and_it_stops_at_once(stand: Stand) -> None:
    fault = Fault()
    with stand.check(fault, grace_s=0.0) as check:
        await check.first()
        assert stand.port.asked.is_set()
        for _ in range(5):
            stand.port.asked.clear()
            await until(stand.port.asked)
    stand.port.why = "stopped"
    assert (stand.ended, fault.found.is_set()) == ([], False)
    fault.check()


async def test_a_check_under_way_does_not_hold_the_event_loop_up_that_is_to_answer_it(stand: Stand) -> None:
    answered = threading.Event()

    def ask(_timeout_s: float) -> None:
        stand.port.asked.set()
        stand.over.set() if answered.wait(3.0) else stand.ended.append("not answered")

    with SelfCheck(ask, Fault(), interval_s=0.02, patience_s=60.0, grace_s=0.0, end=stand.end):
        await until(stand.port.asked)
    answered.set()
    await until(stand.over)
    assert stand.ended == []


async def test_a_slow_answer_is_an_answer(stand: Stand) -> None:
    """Whoever is slow has a third of the patience for each answer, however long that is."""
    patience_s: list[float] = []
    with SelfCheck(patience_s.append, Fault(), interval_s=60.0, patience_s=30.0, grace_s=0.0, end=stand.end) as check:
        await check.first()
    assert patience_s == [30.0 / MIN_FAILURES]


@pytest.mark.parametrize("interval_s", [0.0, 0.02])
async def test_the_first_check_is_made_at_once_if_there_is_any(stand: Stand, interval_s: float) -> None:
    stand.port.why = "nobody listens yet"
    fault = Fault()
    with SelfCheck(stand.port, fault, interval_s=interval_s, patience_s=0.1, grace_s=0.0, end=stand.end) as check:
        await asyncio.wait_for(check.first(), 20.0)
    assert stand.port.asked.is_set() == bool(interval_s)
    assert not fault.found.is_set()


async def test_the_first_fault_stays() -> None:
    fault = Fault()
    fault.report("one")
    fault.report("two")
    assert fault.why == "one"


def test_all_must_answer() -> None:
    asked: list[Callable[[float], None]] = [Answers(), Answers("down"), Answers()]
    with pytest.raises(ProbeFailed, match="down"):
        all_of(*asked)(1.0)
    all_of(asked[0], asked[2])(1.0)
