"""A clock that stands still until a test moves it, so that fences and waits are tested to the instant."""

import asyncio

PATIENCE_S = 10.0
"""How long a test waits for what must come at once."""


class FakeClock:
    """A Clock of agentring.cluster.clock, in seconds of the test's own."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self._now_s = now_s
        self._sleepers: list[tuple[float, asyncio.Event]] = []
        self._slept = asyncio.Event()

    def now_s(self) -> float:
        return self._now_s

    async def sleep(self, duration_s: float) -> None:
        """Returns once the test has moved the clock so far; at once where duration_s is not positive."""
        if duration_s <= 0:
            await asyncio.sleep(0)
            return
        sleeper = (self._now_s + duration_s, asyncio.Event())
        self._sleepers.append(sleeper)
        self._slept.set()
        try:
            await sleeper[1].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    def advance(self, duration_s: float) -> None:
        """Moves the clock in one jump, as a frozen process sees it, and wakes whoever is due."""
        self.advance_to(self._now_s + duration_s)

    def advance_to(self, now_s: float) -> None:
        """As `advance`, to a moment."""
        assert now_s >= self._now_s
        self._now_s = now_s
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= now_s]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > now_s]
        for _, woken in due:
            woken.set()

    async def next_due_s(self, sleepers: int = 1) -> float:
        """The moment that the first sleeper waits for, once there are so many."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while len(self._sleepers) < sleepers:
                    self._slept.clear()
                    await self._slept.wait()
        except TimeoutError:
            raise AssertionError(f"{len(self._sleepers)} of {sleepers} sleep at {self._now_s}") from None
        return min(due_s for due_s, _ in self._sleepers)
