"""Runs somebody else's code, and comes to an end whether or not that code does.

Guarantees: the caller goes on once the code has ended, or else `grace_s` after its deadline or the caller's
cancellation; whatever the code raises is returned, also what would end the process (an agent's sys.exit()). Who
cancelled the code is known, not read off the exception: code may cancel its own task, as a time-out of its own does,
and what comes of that is returned as CancelledItself. Does not guarantee that the code stops: a coroutine that swallows
its cancellation cannot be stopped. It is abandoned: it stays in its task, which is the one kind of task here that no
group owns, because a group would wait for it for ever, and with it the fence, the drain and the node's stop. Abandoned
runs that have not ended are counted, and of one agent there are at most MOST_ABANDONED (and those that were under way
then): beyond it nothing of that agent is begun. Code that never waits has ended when `begin` returns, which saves its
caller a wait and the event loop a timer. Used by AgentRun (agent_run.py).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context, copy_context

import structlog

from agent_node.run.first_steps import FirstSteps

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
        self._left_s = timeout_s
        self._since_s: float | None = self._loop.time()
        """When `_left_s` began to run; None: it is paused."""
        self._timer: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] | None = None
        self._is_over = False

    def until_over(self) -> "asyncio.Future[None]":
        """Resolved once the time is over, or the code has ended. Until somebody waits for it there is no timer: code
        that never waits leaves the event loop no moment to call one."""
        if self._over is None:
            self._over = self._loop.create_future()
            if self._is_over:
                self._over.set_result(None)
            elif self._since_s is not None:
                self._start_timer(self._since_s)
        return self._over

    def pause(self) -> None:
        """The time stops."""
        if self._since_s is not None:
            self._left_s = max(0.0, self._left_s - (self._loop.time() - self._since_s))
            self._since_s = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def resume(self) -> None:
        """It runs again."""
        if self._since_s is None and not self._is_over:
            self._since_s = self._loop.time()
            if self._over is not None:
                self._start_timer(self._since_s)

    def expire(self) -> None:
        """The time is over, now."""
        self._is_over = True
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _start_timer(self, since_s: float) -> None:
        left_s = self._left_s - (self._loop.time() - since_s)
        self._timer = self._loop.call_later(max(0.0, left_s), self.expire)


class BoundedRun:
    """One run of the code: `begin`, and `wait` unless that was all."""

    def __init__(self, *, time: PausableDeadline, grace_s: float, agent: Hashable, stop: Stop | None = None) -> None:
        """agent: whose code it is; stop: says to the code whether it was asked to end."""
        self._time = time
        self._grace_s = grace_s
        self._agent = agent
        self._stop = stop or Stop()
        self._task: asyncio.Task[None] | None = None

    def begin(
        self,
        code: Callable[[], Awaitable[None]],
        context: Context | None = None,
        suspends: Callable[[], None] | None = None,
    ) -> bool:
        """Takes the code as far as it goes without waiting. Whether it has ended: then `ending` says how. The code is
        not kept: it may be its caller's, which keeps this.

        context: the code's; None: a copy of the caller's. suspends: called whenever the code waits for something,
        before anybody else's code runs; must not raise. Called in a task.
        """
        if not ABANDONED.has_room(self._agent):
            return True
        context = copy_context() if context is None else context
        steps = FirstSteps(_caught(code, self._stop, self._time), suspends)
        self._task = asyncio.get_running_loop().create_task(steps, context=context)
        steps.take(self._task, context)
        return steps.is_over

    @property
    def ending(self) -> BaseException | None:
        """What the code raised by itself, CancelledItself, TooManyAbandoned (of earlier runs of the agent: it was not
        begun), or None: it came to its end."""
        if (task := self._task) is None:
            return TooManyAbandoned()
        error = self._stop.raised
        # Not isinstance, which asks the error's own __class__.
        was_cancelled = issubclass(type(error), asyncio.CancelledError) and task.cancelling()
        # It returned with a cancellation pending: its task is about to end so, if it has not.
        is_pending = error is None and (task.cancelled() if task.done() else task.cancelling())
        if was_cancelled or is_pending:
            own = CancelledItself()
            own.__cause__ = error
            return own
        return error

    async def wait(self, late: Callable[[], Awaitable[None]] | None = None) -> BaseException | None:
        """Returns `ending` once the code has ended, or DeadlineExceeded. late: awaited once the time is over, before
        the code is asked to end. Raises what that raises, once the code has ended or was abandoned.

        Cancellation: the code is cancelled too, and abandoned if it has not ended grace_s later, or at a second
        cancellation.
        """
        task = self._task
        assert task is not None
        _tasks.add(task)
        task.add_done_callback(self._ended)
        stopped: BaseException | None = None
        try:
            await self._time.until_over()
            if late is not None and not task.done():
                await late()
        except BaseException as error:
            stopped = error
        finally:
            self._time.pause()
        if stopped is not None:
            await self._end(task)
            raise stopped
        if task.done():
            return self.ending
        await self._end(task)
        return DeadlineExceeded()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        _tasks.discard(task)
        self._time.expire()

    async def _end(self, task: "asyncio.Task[None]") -> None:
        self._stop.asked = True
        task.cancel()
        try:
            await asyncio.wait([task], timeout=self._grace_s)
        finally:
            if not task.done():
                ABANDONED.add(task, self._agent)
                _log.error("agent_let_go", grace_s=self._grace_s)


async def run_bounded(
    code: Callable[[], Awaitable[None]],
    *,
    time: PausableDeadline,
    grace_s: float,
    agent: Hashable,
    stop: Stop | None = None,
) -> BaseException | None:
    """As BoundedRun, from its beginning to its end."""
    run = BoundedRun(time=time, grace_s=grace_s, agent=agent, stop=stop)
    return run.ending if run.begin(code) else await run.wait()


async def _caught(code: Callable[[], Awaitable[None]], stop: Stop, time: PausableDeadline) -> None:
    try:
        await code()
    except BaseException as error:
        stop.raised = error
    time.expire()  # the task is done when its caller goes on
