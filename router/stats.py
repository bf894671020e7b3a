"""What a router counts, for its metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from math import inf

from agentring.http2.traffic import Traffic

RESUMED_WITHIN_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, inf)


class Stats(Traffic):
    """What is counted, for the metrics."""

    def __init__(self) -> None:
        """All 0."""
        super().__init__()
        self.calls = 0
        self.cancelled = 0
        self.errors: Counter[str] = Counter()
        """Calls that the router itself ended, by reason."""
        self.reattachments: Counter[tuple[str, str]] = Counter()
        """Losses of a call's node, and first opens that met a moving session, by cause and how that ended."""
        self.lost_unaccepted: Counter[str] = Counter()
        """Calls that were on a connection which broke before the node had accepted them, by the outcome."""
        self.stale_epochs = 0
        """Nodes' responses that were refused, because a newer owner was seen before."""
        self.resumed_within = [0] * len(RESUMED_WITHIN_S)
        """How many of those that found another node had it within each time, and not within the one before."""
        self.reattaching_s = 0.0
        """How long those waited, together."""

    def reattached(self, cause: str, outcome: str, took_s: float) -> None:
        """A call without a node has one again, or has ended."""
        self.reattachments[cause, outcome] += 1
        if outcome == "resumed":
            self.reattaching_s += took_s
            self.resumed_within[bisect_left(RESUMED_WITHIN_S, took_s)] += 1
