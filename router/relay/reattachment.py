"""The tries to put a call whose node is lost on the session's next owner.

A node dies, drains, is fenced or loses its claim; the next one owns the session only once the claim has moved, which
takes up to a lease's TTL. Until then each try ends with an error that waiting helps against. Guarantees: tries come
with growing pauses, and at once when the membership has changed (with a dead node's key its claims are deleted), where
one is under way just then, as soon as it has failed: it may have asked a moment before; no two at once, and none after
timeout_s: then the call ends with what the last try did. A node that is lost as soon as it has accepted the call, and
has sent its client nothing new, is the same loss going on: neither the pauses nor the time begin anew, so that nodes
which accept calls and drop them are not asked without end. A node that does not answer for a while, being busy with
others, is left for the next one that may take the session. Owned by its Call, from its first loss on.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from agentring.errors import AgentringError, SessionMoving
from agentring.rpc.clock import Clock, Timer
from router.relay.call_registry import CallRegistry, OwnerWait
from router.relay.grpc_framing import MARKS, NO_MARKS
from router.relay.losses import STEADY_S
from router.stats import Stats

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_SLOW_S = 2.0
"""A node that has not answered after so long is not waited for, where another one may take the session."""


class Reattachment(OwnerWait):
    """What is between the loss of a node and the next one's acceptance, each time that a call goes through it."""

    __slots__ = (
        "_accepted_s",
        "_ask_another",
        "_cause",
        "_clock",
        "_fail",
        "_lost_s",
        "_pause_s",
        "_progress",
        "_registry",
        "_since_s",
        "_slow",
        "_stats",
        "_timeout_s",
        "_timer",
        "_try",
        "is_on",
    )

    def __init__(
        self,
        clock: Clock,
        registry: CallRegistry,
        stats: Stats,
        timeout_s: float,
        try_owner: Callable[[], None],
        ask_another: Callable[[], bool],
        fail: Callable[[AgentringError], None],
    ) -> None:
        """timeout_s: from a loss until the call ends; try_owner: asks for the owner once more; ask_another: asks the
        next node instead of one that does not answer, False: there is none; fail: ends the call."""
        self._clock = clock
        self._registry = registry
        self._stats = stats
        self._timeout_s = timeout_s
        self._try = try_owner
        self._ask_another = ask_another
        self._fail = fail
        self._cause = ""
        self._progress = MARKS.unpack_from(NO_MARKS)
        self._since_s = self._lost_s = 0.0
        self._accepted_s: float | None = None
        self._pause_s = 0.0
        self._timer: Timer | None = None
        self._slow: Timer | None = None
        """While a try is under way."""
        self.is_on = False
        """No node has the call."""

    def begin(self, cause: str, last_response: bytes, *, at_once: bool) -> None:
        """The node was lost now; cause: for the metric; last_response: the client's last one, or its marks; at_once:
        the first try comes without a pause."""
        now_s = self._clock.time()
        # Not as bytes: each node that accepts the call says so by a message, of whatever length.
        progress = MARKS.unpack_from(last_response)
        if self._accepted_s is None or progress > self._progress or now_s - self._accepted_s > STEADY_S:
            self._since_s, self._pause_s = now_s, 0.0 if at_once else _FIRST_PAUSE_S
        self._progress = max(self._progress, progress)
        self._lost_s = now_s
        self._cause = cause
        self.is_on = True
        self._registry.waiting.add(self)

    def try_later(self, error: AgentringError) -> None:
        """Tries again after a pause, the first time at once; error: what the last try ended with."""
        if self._timer is not None:
            return
        self._stop_slow_timer()
        # Invariant: the search for an owner ends in time (tests/unit/router/relay/test_reattachment_tries.py).
        left_s = self._since_s + self._timeout_s - self._clock.time()
        if left_s <= 0:
            self.end("timed_out")
            self._fail(error if error.retry_after_s is not None else SessionMoving())
            return
        pause_s = min(self._pause_s * (0.5 + random.random()), left_s)  # noqa: S311  nobody gains by guessing it
        self._pause_s = min(max(_FIRST_PAUSE_S, 2 * self._pause_s), _LONGEST_PAUSE_S)
        self._timer = self._clock.call_later(pause_s, self._fire)

    def succeeded(self) -> None:
        """A node has accepted the call."""
        self._accepted_s = self._clock.time()
        self.end("resumed")

    def hurry(self) -> None:
        """As OwnerWait."""
        if self._timer is None:
            self._pause_s = 0.0  # after the try that is under way
            return
        self._timer.cancel()
        self._pause_s = _FIRST_PAUSE_S
        self._fire()

    def end(self, outcome: str) -> None:
        """A node has accepted the call, or it is over."""
        if not self.is_on:
            return
        self.is_on = False
        self._registry.waiting.discard(self)
        self._stop_slow_timer()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stats.reattached(self._cause, outcome, self._clock.time() - self._lost_s)

    def _fire(self) -> None:
        self._timer = None
        self._slow = self._clock.call_later(_SLOW_S, self._too_slow)
        self._try()

    def _too_slow(self) -> None:
        self._slow = None
        if self._ask_another() and self.is_on and self._timer is None:
            self._slow = self._clock.call_later(_SLOW_S, self._too_slow)

    def _stop_slow_timer(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None
