"""How long a call may take: the caller's own deadline, and the time until its first message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agentring.errors import AgentringError, DeadlineExceeded, FirstFrameTimeout
from agentring.rpc.clock import Clock, Timer

_SLACK_S: Final = 0.05
"""A node whose clock runs this much ahead of ours ends a call for the same reason as we would."""


class CallTimers:
    """The timers of one call."""

    __slots__ = ("_clock", "_deadline", "_deadline_s", "_fail", "_first_message")

    def __init__(self, clock: Clock, fail: Callable[[AgentringError], None]) -> None:
        """fail: ends the call."""
        self._clock = clock
        self._fail = fail
        self._deadline_s: float | None = None
        self._deadline: Timer | None = None
        self._first_message: Timer | None = None

    def set_deadline(self, timeout_s: float) -> None:
        """The call ends then."""
        self._deadline_s = self._clock.time() + timeout_s
        self._deadline = self._clock.call_later(timeout_s, self._deadline_met)

    @property
    def remaining_s(self) -> float | None:
        """Until the deadline; None: there is none."""
        return None if self._deadline_s is None else self._deadline_s - self._clock.time()

    @property
    def is_over(self) -> bool:
        """Whether the deadline is met, or as good as met."""
        remaining_s = self.remaining_s
        return remaining_s is not None and remaining_s < _SLACK_S

    def await_first_message(self, timeout_s: float) -> None:
        """The call ends unless its first message comes within timeout_s."""
        if self._first_message is None:
            self._first_message = self._clock.call_later(timeout_s, self._first_message_timed_out)

    def first_message_came(self) -> None:
        """It has come."""
        if self._first_message is not None:
            self._first_message.cancel()
            self._first_message = None

    def end(self) -> None:
        """The call is over."""
        self.first_message_came()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _deadline_met(self) -> None:
        self._deadline = None
        self._fail(DeadlineExceeded())

    def _first_message_timed_out(self) -> None:
        self._first_message = None
        self._fail(FirstFrameTimeout())
