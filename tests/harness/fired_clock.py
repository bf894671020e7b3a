"""A clock for what asks an event loop for the time and for timers; it moves when a test moves it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class FiredClock:
    """A clock that stands still until a test moves it, and calls back what is due then."""

    def __init__(self) -> None:
        self._now_s = 1_000.0
        self._order = count()
        self._timers: list[tuple[float, int, FiredTimer]] = []

    def time(self) -> float:
        return self._now_s

    def call_later(self, delay: float, callback: Callable[[], object]) -> FiredTimer:
        timer = FiredTimer(callback)
        heapq.heappush(self._timers, (self._now_s + delay, next(self._order), timer))
        return timer

    @property
    def waiting(self) -> int:
        """Timers that are neither due nor cancelled."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    def advance(self, duration_s: float) -> None:
        """Moves on, and fires what is due."""
        self._now_s += duration_s
        while self._timers and self._timers[0][0] <= self._now_s:
            callback, timer = None, heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()


class FiredTimer:
    """A call-back to come."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None
