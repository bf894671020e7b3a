"""When the watchdog ends the process, tick by tick, and when it must not."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent_node.lifecycle.watchdog import TICK_S, Watchdog
from agentring.cluster.clock import BootClock
from harness.clock import PATIENCE_S, FakeClock

MARGIN_S = 2.0
ALLOWED_TICKS = round(MARGIN_S / 2 / TICK_S)
"""Half a margin of ticks."""


@dataclass
class FixedLease:
    """A lease that is over at a moment."""

    fence_at_s: float
    margin_s: float = MARGIN_S


@dataclass
class Stand:
    """A watchdog whose ticks, clock and event loop are the test's. F is 8 s from the beginning."""

    clock: FakeClock = field(default_factory=FakeClock)
    ended: list[float] = field(default_factory=list)
    asked: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lease: FixedLease | None = FixedLease(self.clock.now_s() + 8.0)
        self.watchdog = Watchdog(lambda: self.lease, self.clock, self.ended.append)

    def ticks(self, count: int) -> None:
        """So many, each TICK_S after the one before."""
        for _ in range(count):
            self.clock.advance(TICK_S)
            self.watchdog.tick(self.asked.append)

    def loop_runs(self) -> None:
        """The event loop calls what it was handed."""
        while self.asked:
            self.asked.pop()()


def test_before_f_a_blocked_loop_is_left_alone() -> None:
    stand = Stand()
    stand.ticks(round(7.9 / TICK_S))
    assert stand.ended == []
    assert stand.asked == []


def test_past_f_a_loop_that_does_not_answer_ends_the_process_after_half_a_margin() -> None:
    stand = Stand()
    stand.clock.advance(8.0)
    stand.ticks(ALLOWED_TICKS)
    assert stand.ended == []
    stand.ticks(1)
    assert len(stand.ended) == 1
    assert stand.clock.now_s() < 1_000.0 + 8.0 + MARGIN_S  # etcd still holds the lease then


def test_a_loop_that_answers_is_left_alone_however_long_the_fence_takes() -> None:
    stand = Stand()
    stand.clock.advance(8.0)
    for _ in range(10):
        stand.ticks(ALLOWED_TICKS)
        stand.loop_runs()
    assert stand.ended == []


def test_a_loop_that_answered_once_and_is_blocked_again_ends_the_process() -> None:
    stand = Stand()
    stand.clock.advance(8.0)
    stand.ticks(3)
    stand.loop_runs()
    stand.ticks(ALLOWED_TICKS + 1)  # of which the first asks again
    assert len(stand.ended) == 1


def test_a_stopped_process_misses_no_ticks() -> None:
    """SIGSTOP for longer than the lease: the clock went on, the ticks did not."""
    stand = Stand()
    stand.ticks(3)
    stand.clock.advance(1_000.0)
    stand.ticks(ALLOWED_TICKS)
    assert stand.ended == []
    stand.loop_runs()
    stand.lease = None  # the loop has noticed the fence
    stand.ticks(2 * ALLOWED_TICKS)
    assert stand.ended == []


def test_a_renewal_that_moves_f_begins_the_count_anew() -> None:
    stand = Stand()
    stand.clock.advance(8.0)
    stand.ticks(ALLOWED_TICKS)
    stand.lease = FixedLease(stand.clock.now_s() + 1.0)
    stand.ticks(2)
    stand.clock.advance(1.0)
    stand.ticks(ALLOWED_TICKS)
    assert stand.ended == []


def test_without_a_lease_nothing_is_watched() -> None:
    stand = Stand()
    stand.lease = None
    stand.clock.advance(1_000.0)
    stand.ticks(10 * ALLOWED_TICKS)
    assert (stand.ended, stand.asked) == ([], [])


async def test_its_thread_ends_a_loop_that_is_really_blocked() -> None:
    ended: list[float] = []
    lease = FixedLease(BootClock().now_s(), margin_s=4 * TICK_S)
    with Watchdog(lambda: lease, BootClock(), ended.append):
        deadline_s = time.monotonic() + PATIENCE_S
        while not ended:
            assert time.monotonic() < deadline_s
            time.sleep(TICK_S)  # noqa: ASYNC251  the loop is blocked
    assert ended[0] >= 2 * TICK_S


async def test_its_thread_leaves_a_loop_that_runs_alone() -> None:
    ended: list[float] = []
    lease = FixedLease(BootClock().now_s(), margin_s=40 * TICK_S)
    with Watchdog(lambda: lease, BootClock(), ended.append):
        await asyncio.sleep(6 * TICK_S)
    assert ended == []
