"""Runs somebody else's code, and comes to an end whether or not that code does.

Guarantees: the caller goes on once the code has ended, or else `grace_s` after its deadline or the caller's
cancellation; whatever the code raises is returned, also what would end the process (an agent's sys.exit()). Who
cancelled the code is known, not read off the exception: code may cancel its own task, as a time-out of its own does,
and what comes of that is returned as CancelledItself. Does not guarantee that the code stops: a coroutine that swallows
its cancellation cannot be stopped. It is abandoned: it stays in its task, which is the one kind of task here that no
group owns, because a group would wait for it for ever, and with it the fence, the drain and the node's stop. Abandoned
runs that have not ended are counted, and of one agent there are at most MOST_ABANDONED (and those that were under way
then): beyond it nothing of that agent is begun. Called by `run_agent`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable

import structlog

_log = structlog.get_logger()

_tasks: set[asyncio.Task[None]] = set()
"""The event loop itself keeps no task alive."""

MOST_ABANDONED = 64
"""Runs of one agent that were abandoned and have not ended."""


class AbandonedRuns:
    """Runs of this process that could not be stopped."""

    def __init__(self) -> None:
        self.total = 0
        """Since the start."""
        self._running: Counter[Hashable] = Counter()

    @property
    def running(self) -> int:
        """How many have not ended."""
        return self._running.total()

    def has_room(self, agent: Hashable) -> bool:
        """Whether another run of the agent may be begun."""
        return self._running[agent] < MOST_ABANDONED

    def add(self, task: asyncio.Task[None], agent: Hashable) -> None:
        """Counts a task until it ends."""
        self.total += 1
        self._running[agent] += 1

        def ended(_: object) -> None:
            self._running[agent] -= 1
            if not self._running[agent]:
                del self._running[agent]

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
    """How long the code may still take. It is paused while the code waits for the user."""

    def __init__(self, timeout_s: float) -> None:
        """Runs from now on."""
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        """Resolved once the time is over, or the code has ended."""
        self._left_s = timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self.resume()

    def pause(self) -> None:
        """The time stops."""
        if self._timer is not None:
            self._left_s = max(0.0, self._timer.when() - self._loop.time())
            self._timer.cancel()
            self._timer = None

    def resume(self) -> None:
        """It runs again."""
        if self._timer is None and not self.over.done():
            self._timer = self._loop.call_later(self._left_s, self.expire)

    def expire(self) -> None:
        """The time is over, now."""
        if not self.over.done():
            self.over.set_result(None)


async def run_bounded(
    code: Callable[[], Awaitable[None]],
    *,
    time: PausableDeadline,
    grace_s: float,
    agent: Hashable,
    stop: Stop | None = None,
) -> BaseException | None:
    """Runs `code` until its deadline; returns what it raised, DeadlineExceeded, CancelledItself, or None: it came to
    its end.

    agent: whose code it is; where too many of its runs were abandoned: TooManyAbandoned, and the code was not begun.
    stop: says to the code whether it was asked to end.

    Cancellation: the code is cancelled too, and abandoned if it has not ended grace_s later, or at a second
    cancellation.
    """
    if not ABANDONED.has_room(agent):
        return TooManyAbandoned()
    stop = stop or Stop()
    task = asyncio.get_running_loop().create_task(_caught(code, stop, time))
    _tasks.add(task)

    def ended(_: object) -> None:
        _tasks.discard(task)
        time.expire()  # it was cancelled before its first step, perhaps

    task.add_done_callback(ended)
    try:
        await time.over
    except asyncio.CancelledError:
        await _stop(task, stop, grace_s, agent)
        raise
    finally:
        time.pause()
    if task.done():
        return _ending(task, stop)
    await _stop(task, stop, grace_s, agent)
    return DeadlineExceeded()


async def _caught(code: Callable[[], Awaitable[None]], stop: Stop, time: PausableDeadline) -> None:
    try:
        await code()
    except BaseException as error:
        stop.raised = error
    time.expire()  # the task is done when its caller goes on


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


async def _stop(task: asyncio.Task[None], stop: Stop, grace_s: float, agent: Hashable) -> None:
    stop.asked = True
    task.cancel()
    try:
        await asyncio.wait([task], timeout=grace_s)
    finally:
        if not task.done():
            ABANDONED.add(task, agent)
            _log.error("agent_let_go", grace_s=grace_s)
