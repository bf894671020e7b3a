"""When each turn is due, and the workers that run them.

Guarantees that at most `concurrency` sessions are open and that a session has one turn under way. Two schedules:

Closed loop: a turn follows when the one before it has ended. When the server stalls, so does the load, and the turns
that users would have sent meanwhile are never measured ("coordinated omission").

Open loop: turn k of the run is due at start + k / rate, whatever became of those before it, and its latency counts from
then. A worker that a slow server has held up sends late; the wait is in the latency. That is the correction: nothing is
left out and nothing is made up afterwards. Source: Gil Tene, "How NOT to Measure Latency", and his wrk2.

Called by `run`.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Protocol

from benchmarks.load.measure import Tally
from benchmarks.load.plan import Plan
from benchmarks.load.turn import TurnOutcome


class TurnLoop(Protocol):
    """All that the schedule knows of a session."""

    async def run_turn(self, number: int) -> TurnOutcome:
        """Sends the session's turn `number`, counted from 0, and waits for its end."""


OpenSession = Callable[[int], AbstractAsyncContextManager[TurnLoop]]
"""Opens the session `index`, counted from 0."""


class Clock(Protocol):
    """What the schedule waits by."""

    def now(self) -> float:
        """Seconds, never going back."""

    async def wait_until(self, at_s: float, stop: asyncio.Event) -> None:
        """Returns at `at_s`, or as soon as `stop` is set."""


class LoopClock:
    """The running event loop's clock."""

    def now(self) -> float:
        """Seconds, never going back."""
        return asyncio.get_running_loop().time()

    async def wait_until(self, at_s: float, stop: asyncio.Event) -> None:
        """Returns at `at_s`, or as soon as `stop` is set."""
        try:
            async with asyncio.timeout_at(at_s):
                await stop.wait()
        except TimeoutError:
            return


def due_s(plan: Plan, start_s: float, index: int, number: int) -> float | None:
    """When the turn `number` of the session `index` is due; None: when the one before it has ended.

    The sessions come in groups of `concurrency`: first the first turn of each session of a group, then the second of
    each; the next group begins where the one before it ends.
    """
    if plan.rate is None:
        return None
    group, position = divmod(index, plan.concurrency)
    first_of_group = group * plan.concurrency
    size = min(plan.concurrency, plan.sessions - first_of_group)
    return start_s + (first_of_group * plan.turns + number * size + position) / plan.rate


async def run_schedule(plan: Plan, open_session: OpenSession, tally: Tally, clock: Clock, stop: asyncio.Event) -> None:
    """Runs the plan's turns; once `stop` is set no turn is started, and those under way end.

    Cancellation: the sessions' calls are cancelled; what the tally has is kept.
    """
    # Shared by the workers: whoever is free takes the next session.
    sessions = iter(range(plan.sessions))
    async with asyncio.TaskGroup() as workers:
        for _ in range(min(plan.concurrency, plan.sessions)):
            workers.create_task(_work(plan, sessions, open_session, tally, clock, stop))


async def _work(
    plan: Plan,
    sessions: Iterator[int],
    open_session: OpenSession,
    tally: Tally,
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    for index in sessions:
        async with open_session(index) as session:
            for number in range(plan.turns) if plan.turns else count():
                due = due_s(plan, tally.start_s, index, number)
                if due is not None:
                    await clock.wait_until(due, stop)
                if stop.is_set():
                    return
                tally.turn_started()
                tally.turn_ended(await session.run_turn(number), due)
