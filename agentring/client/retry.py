"""How long, and how often, one call tries again.

Guarantees that waits grow from tenths of a second to `longest_wait_s`, spread by chance so that many clients of one
router do not come back together; that a wait the server asked for is never cut short; and that no try begins later than
`reconnect_s` after the first failure since the last progress. Time that the caller takes for itself does not count.
Called by streams.py and unary.py.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agentring.client.errors import Failure

FIRST_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a client waits and how often it tries."""

    reconnect_s: float = 60.0
    """How long a call goes on trying after a failure without progress."""
    call_timeout_s: float = 15.0
    """How long one try of a call with one answer may take."""
    silence_s: float = 75.0
    """How long a stream may be silent before it counts as lost; nodes send a heartbeat every 30 s."""
    longest_wait_s: float = 2.0
    on_retry: Callable[[Exception], None] = lambda _error: None
    """Called with the error before each wait; what it raises ends the call."""
    jitter: Callable[[], float] = random.random
    """Between 0 and 1: the part of a wait that is waited."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class RetrySchedule:
    """Of one call."""

    def __init__(self, policy: RetryPolicy) -> None:
        """Starts with the whole of it."""
        self._policy = policy
        self._now = asyncio.get_running_loop().time
        self.progressed()

    def progressed(self) -> None:
        """Something came: the next failure is the first again."""
        self._until_s: float | None = None
        self._wait_s = FIRST_WAIT_S

    def bound(self, timeout_s: float) -> float:
        """A try's time-out, cut off where the schedule ends."""
        if self._until_s is None:
            return timeout_s
        return max(0.001, min(timeout_s, self._until_s - self._now()))

    async def wait(self, failure: Failure) -> None:
        """Returns when it is time for the next try. Raises the failure's error where there is none."""
        if self._until_s is None:
            self._until_s = self._now() + self._policy.reconnect_s
        wait_s = failure.retry_after_s + self._wait_s * self._policy.jitter()
        if failure.is_final or self._now() + wait_s >= self._until_s:
            raise failure.error
        self._policy.on_retry(failure.error)
        self._wait_s = min(self._wait_s * 2, self._policy.longest_wait_s)
        await self._policy.sleep(wait_s)
