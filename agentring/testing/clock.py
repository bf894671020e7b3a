"""The clock of a test: it stands still until the test moves it.

Guarantees: `ctx.now()`, the waits between the tries of a step, and the retention of tasks and of `ctx.once` go by it;
the wait between two tries takes no time, and moves the clock on. A step's `timeout_s` is over when the clock was moved
so far, or so much time has really passed: what hangs does not hang for ever. What an agent waits for by itself,
`asyncio.sleep` say, takes as long as it takes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class TestClock:
    """As `AgentTest.clock`.

    async with AgentTest(reminder) as t:
        await t.turn("remind me tomorrow")
        t.clock.advance(days=1)
        assert (await t.turn("what is due?")).text == "the dentist"
    """

    __test__ = False

    def __init__(self, now: datetime | None = None) -> None:
        """now: what time it is in the beginning, with a time zone; None: the beginning of 2026. Raises ValueError."""
        now = _FIRST if now is None else now
        if now.tzinfo is None:
            raise ValueError("the test's time needs a time zone, as in datetime(2026, 1, 1, tzinfo=UTC)")
        self._now = now.astimezone(UTC)
        self._began = self._now
        self._timeouts: set[asyncio.Timeout] = set()
        self.waits: list[float] = []
        """The waits between the tries of steps, in seconds, in their order."""

    @property
    def now(self) -> datetime:
        """What time it is, in UTC."""
        return self._now

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Moves the clock on: time-outs of steps that are under way come so much nearer. Raises ValueError where it
        would go back.

            t.clock.advance(hours=2, minutes=30)
        """
        step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if step < timedelta(0):
            raise ValueError("the clock goes on, never back")
        self._now += step
        for timeout in self._timeouts:
            if (when := timeout.when()) is not None and not timeout.expired():
                timeout.reschedule(when - step.total_seconds())

    def now_s(self) -> float:
        """Seconds since it was made: the node's monotonic clock (agentring.cluster.clock.Clock)."""
        return 1_000.0 + (self._now - self._began).total_seconds()

    def now_ns(self) -> int:
        """As RunClock."""
        since = self._now - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000

    async def sleep(self, duration_s: float) -> None:
        """As RunClock: takes no time."""
        self.waits.append(duration_s)
        self._now += timedelta(seconds=max(0.0, duration_s))
        await asyncio.sleep(0)

    def timeout(self, duration_s: float | None) -> AbstractAsyncContextManager[None]:
        """As RunClock."""
        return self._timeout(duration_s)

    @asynccontextmanager
    async def _timeout(self, duration_s: float | None) -> AsyncIterator[None]:
        async with asyncio.timeout(duration_s) as timeout:
            self._timeouts.add(timeout)
            try:
                yield
            finally:
                self._timeouts.discard(timeout)
