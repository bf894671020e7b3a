"""One load run from its first connection to its report.

Guarantees to end: no turn is started after `duration_s` or an interrupt, and one under way ends by its own time-out. A
second interrupt ends the run at once, without a report. Called by the command line and by tests.
"""

import asyncio
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from benchmarks.load.measure import Tally
from benchmarks.load.plan import Plan
from benchmarks.load.progress import live_progress
from benchmarks.load.report import Report, make_report
from benchmarks.load.schedule import LoopClock, run_schedule
from benchmarks.load.sessions import Session, session
from benchmarks.load.targets import Targets


async def run_load(
    plan: Plan, routers: Sequence[str], channels: int, console: Console, may_move: bool = False
) -> Report:
    """Puts the plan's load on the routers, `channels` connections each; `console` shows the progress."""
    clock = LoopClock()
    stop = asyncio.Event()
    async with Targets(routers, channels) as targets:
        cpu_before_s = time.process_time()
        tally = Tally(clock.now(), may_move)

        def open_session(index: int) -> Session:
            return session(plan, index, targets.stub, tally, clock.now)

        with _stop_at(stop, tally.start_s + plan.duration_s), _stop_on_interrupt(stop):
            async with live_progress(plan, tally, console):
                await run_schedule(plan, open_session, tally, clock, stop)
        return make_report(plan, routers, tally, time.process_time() - cpu_before_s)


@contextmanager
def _stop_at(stop: asyncio.Event, at_s: float) -> Iterator[None]:
    timer = asyncio.get_running_loop().call_at(at_s, stop.set)
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _stop_on_interrupt(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
