"""When a node is asked by PING whether it is still there.

A node of ours says in its SETTINGS how often it may be asked (Setting.PING_INTERVAL_MS). Any other server may be one of
gRPC's libraries, which as they come end a connection (GOAWAY, too_many_pings) for the third PING between two answers
of theirs that follows the one before within five minutes, and for those on a connection without a call. So such a one
is asked twice when it falls silent, which finds a node that has died while a call waits for it, and then rarely; that
its machine or the path to it is gone, TCP finds (node_pool.py).

Used by NodeConnection.
"""

from __future__ import annotations

from agentring.http2.limits import Limits

_AT_ONCE = 2
RARELY_S = 330.0


class PingPolicy:
    """What has been learnt of one node that says nothing about PINGs, over all its connections."""

    __slots__ = ("at_once", "rarely_s")

    def __init__(self) -> None:
        """As gRPC's libraries have it."""
        self.at_once = _AT_ONCE
        """So many PINGs may go out before the next answer."""
        self.rarely_s = RARELY_S
        """And then one each time that so long has passed."""

    def too_many(self) -> None:
        """Even that was too much for it."""
        self.at_once = 0
        self.rarely_s *= 2


class Pings:
    """The PINGs on one connection."""

    __slots__ = ("_left", "_limits", "_policy", "_sent_s", "interval_s")

    def __init__(self, limits: Limits, policy: PingPolicy, now_s: float) -> None:
        """limits: how long a node may be silent."""
        self._limits = limits
        self._policy = policy
        self._left = policy.at_once
        self._sent_s = now_s
        self.interval_s: float | None = None
        """As the node permits them; None: it does not say."""

    def answered(self) -> None:
        """The node has sent headers or DATA."""
        self._left = self._policy.at_once

    def too_many(self) -> None:
        """The node has ended the connection for them."""
        self._policy.too_many()

    def is_due(self, now_s: float, heard_s: float, *, has_calls: bool) -> bool:
        """Whether one is to be sent now. heard_s: when the node was heard last."""
        silent_s = now_s - heard_s
        if silent_s <= self._limits.keepalive_s:
            return False
        if self.interval_s is not None:
            return silent_s > self.interval_s
        if not has_calls:
            return False
        if self._left > 0:
            self._left -= 1
        elif now_s - self._sent_s <= self._policy.rarely_s:
            return False
        self._sent_s = now_s
        return True
