"""The event loop as far as calls need it: its time, and its timers. Tests pass a clock that they move themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Clock(Protocol):
    """Its time, and its timers."""

    def time(self) -> float:
        """Seconds, monotonic."""

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Timer:
        """Calls back after delay seconds."""


class Timer(Protocol):
    """A callback that is due later."""

    def cancel(self) -> None:
        """It is not called."""
