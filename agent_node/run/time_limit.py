"""Runs somebody else's code, and comes to an end whether or not that code does.

Guarantees: whoever calls goes on once the code has ended, or else `grace_s` after its time was over or the caller was
cancelled; and whatever the code raises is returned, also what would end the process (an agent's sys.exit()). Who
cancelled the code is known, not read off the exception: code may cancel its own task, as a time-out of its own does,
and what comes of that is told as CancelledItself. Does not guarantee that the code stops: a coroutine that swallows its
cancellation cannot be stopped. It is let go: it stays in its task, which is the one kind of task here that no group
owns, because a group would wait for it for ever, and with it the fence, the drain and the node's stop. What was let go
and still runs is counted, and of one agent's there are at most MOST_ABANDONED (and those that were under way then):
beyond it nothing of that agent is begun. Called by `run_agent`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import structlog

_log = structlog.get_logger()

_tasks: set[asyncio.Task[None]] = set()
"""The event loop itself keeps no task alive."""

MOST_ABANDONED = 64
"""Runs of one agent that were let go and have not ended."""


class AbandonedRuns:
    """What was let go on this process."""

    def __init__(self) -> None:
        self.total = 0
        """Since the start."""
        self._running: Counter[Hashable] = Counter()

    @property
    def running(self) -> int:
        """How many have not ended."""
        return self._running.total()

    def has_room(self, whose: Hashable) -> bool:
        """Whether another one of the same agent may be begun."""
        return self._running[whose] < MOST_ABANDONED

    def add(self, task: asyncio.Task[None], whose: Hashable) -> None:
        """Counts a task until it ends."""
        self.total += 1
        self._running[whose] += 1

        def ended(_: object) -> None:
            self._running[whose] -= 1
            if not self._running[whose]:
                del self._running[whose]

        task.add_done_callback(ended)


ABANDONED = AbandonedRuns()


class TooManyAbandoned(Exception):
    """Too many earlier runs of the agent cannot be stopped."""


class DeadlineExceeded(Exception):
    """The time was over before the code was."""


class CancelledItself(Exception):
    """The code, or something that it began, cancelled the code's own task."""


class Stop:
    """Whether the code was asked to end. A cancellation that comes without is the code's own."""

    __slots__ = ("asked", "raised")

    def __init__(self) -> None:
        """Not yet."""
        self.asked = False
        self.raised: BaseException | None = None
        """What ended the code; None: nothing has."""


class PausableDeadline:
    """How long the code may still take. It can be held while the code waits for somebody."""

    def __init__(self, timeout_s: float) -> None:
        """Begins to run."""
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._left_s = timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self.go_on()

    def hold(self) -> None:
        """The time does not run from now on."""
        if self._timer is not None:
            self._left_s = max(0.0, self._timer.when() - self._loop.time())
            self._timer.cancel()
            self._timer = None

    def go_on(self) -> None:
        """It runs again."""
        if self._timer is None and not self.over.done():
            self._timer = self._loop.call_later(self._left_s, self.end)

    def end(self) -> None:
        """It is over."""
        if not self.over.done():
            self.over.set_result(None)


async def run_bounded(
    code: Callable[[], Awaitable[None]],
    *,
    time: PausableDeadline,
    grace_s: float,
    whose: Hashable,
    stop: Stop | None = None,
) -> BaseException | None:
    """Runs `code` until its time is over; returns what it raised, DeadlineExceeded, CancelledItself, or None: it came
    to its end.

    whose: the agent it belongs to; where too many of its runs were let go: TooManyAbandoned, and the code was not
    begun. stop: tells the code whether it was asked to end.

    Cancellation: the code is cancelled too, and let go if it has not ended grace_s later, or at a second cancellation.
    """
    if not ABANDONED.has_room(whose):
        return TooManyAbandoned()
    stop = stop or Stop()
    task = asyncio.get_running_loop().create_task(_caught(code, stop))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    try:
        waited: tuple[asyncio.Future[Any], ...] = (task, time.over)
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await _stop(task, stop, grace_s, whose)
        raise
    finally:
        time.hold()
    if task.done():
        return _ending(task, stop)
    await _stop(task, stop, grace_s, whose)
    return DeadlineExceeded()


async def _caught(code: Callable[[], Awaitable[None]], stop: Stop) -> None:
    try:
        await code()
    except BaseException as error:
        stop.raised = error


def _ending(task: "asyncio.Task[None]", stop: Stop) -> BaseException | None:
    """Of code that ended without being asked to."""
    error = stop.raised
    # Not isinstance, which asks the error's own __class__.
    was_cancelled = issubclass(type(error), asyncio.CancelledError) and task.cancelling()
    if was_cancelled or (error is None and task.cancelled()):  # cancelled means here: it returned with one pending
        own = CancelledItself()
        own.__cause__ = error
        return own
    return error


async def _stop(task: asyncio.Task[None], stop: Stop, grace_s: float, whose: Hashable) -> None:
    stop.asked = True
    task.cancel()
    try:
        await asyncio.wait([task], timeout=grace_s)
    finally:
        if not task.done():
            ABANDONED.add(task, whose)
            _log.error("agent_let_go", grace_s=grace_s)
