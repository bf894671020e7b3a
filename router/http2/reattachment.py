"""The tries to put a call whose node is lost on the session's next owner.

A node dies, drains, is fenced or loses its claim; the next one owns the session only once the claim has moved, which
takes up to a lease's TTL. Until then each try ends with an error that waiting helps against. Guarantees: tries come
with growing pauses, and at once when the membership has changed (with a dead node's key its claims are gone); no two at
once, and none after reattach_timeout_s: then the call ends with the last error. Owned by its Call.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from agentring import metadata
from agentring.errors import AgentringError
from router.http2.carrier import Carrier, Timer
from router.http2.client_stream import ClientStream
from router.http2.headers import literal
from router.http2.messages import MARKS, NO_MARKS

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class Reattachment:
    """Between the loss of a node and the next one's acceptance."""

    __slots__ = ("_carrier", "_fail", "_lost_s", "_pause_s", "_timer", "_try")

    def __init__(self, carrier: Carrier, try_again: Callable[[], None], fail: Callable[[AgentringError], None]) -> None:
        """The node was lost now."""
        self._carrier = carrier
        self._try = try_again
        self._fail = fail
        self._lost_s = carrier.now_s()
        self._pause_s = 0.0
        self._timer: Timer | None = None

    def later(self, error: AgentringError) -> None:
        """Tries again after a pause, the first time at once; error: what the last try ended with."""
        if self._timer is not None:
            return
        left_s = self._lost_s + self._carrier.limits.reattach_timeout_s - self._carrier.now_s()
        if left_s <= 0:
            self._carrier.stats.reattachments["timed out"] += 1
            self._fail(error)
            return
        pause_s = min(self._pause_s * (0.5 + random.random()), left_s)  # noqa: S311  nobody gains by guessing it
        self._pause_s = min(max(_FIRST_PAUSE_S, 2 * self._pause_s), _LONGEST_PAUSE_S)
        self._timer = self._carrier.call_later(pause_s, self._fire)
        self._carrier.waiting.add(self)

    def succeeded(self) -> None:
        """A node has accepted."""
        stats = self._carrier.stats
        stats.reattachments["resumed"] += 1
        stats.reattaching_s += self._carrier.now_s() - self._lost_s

    def hurry(self) -> None:
        """Tries now: the session may have an owner."""
        if self._timer is not None:
            self._timer.cancel()
            self._fire()

    def end(self) -> None:
        """The call is over."""
        self._carrier.waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._carrier.waiting.discard(self)
        self._timer = None
        self._try()


def place(client: ClientStream) -> bytes:
    """The fields that tell a node where a stream that it takes over has come to: what the client was sent, and which
    of its messages come again."""
    kept = client.kept
    first, last = (1, 1) if kept.request else (kept.acked + 1, kept.acked + len(kept.messages))
    block = literal(metadata.FRAMES, f"{first} {last}")
    if client.last is not NO_MARKS:
        block += literal(metadata.AFTER_SEQ, str(MARKS.unpack_from(client.last)[0]))
    return block
