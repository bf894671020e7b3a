"""How many bytes the process may hold for slow readers, and who must go when it holds more.

Each stream alone is bounded by what is granted to its sender; the budget bounds their sum. Called by Stream and
ReplayBuffer.
"""

from __future__ import annotations

from typing import Protocol


class Holder(Protocol):
    """Something with bytes that wait."""

    def shed(self) -> None:
        """Ends the call that it belongs to, which gives its bytes back."""

    def __hash__(self) -> int:
        """By identity."""


class Budget:
    """Bytes that wait, of all connections."""

    def __init__(self, max_bytes: int) -> None:
        """max_bytes: of all together."""
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self.shed_count = 0
        self._stalled: dict[Holder, None] = {}

    def __len__(self) -> int:
        """How many streams have bytes that wait."""
        return len(self._stalled)

    def add(self, change_bytes: int) -> None:
        """Counts bytes that began (or, below 0, ceased) to wait. Beyond the limit the longest-stalled streams end."""
        self.used_bytes += change_bytes
        if change_bytes <= 0:
            return  # a stream that gives bytes back may be in the middle of its end
        while self.used_bytes > self.max_bytes and self._stalled:
            longest = next(iter(self._stalled))
            del self._stalled[longest]
            self.shed_count += 1
            longest.shed()

    def stalled(self, holder: Holder) -> None:
        """Bytes have begun to wait there."""
        self._stalled[holder] = None

    def flows(self, holder: Holder) -> None:
        """None wait there any more."""
        self._stalled.pop(holder, None)
