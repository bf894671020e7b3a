"""Starts of runs whose write to the store may have landed, though the function was never called.

Guarantees: such a row is not taken for a run that was cut off, so a step that must not run twice is not UNKNOWN for it.
The newest MOST are remembered; an older one's row is then taken for one that was cut off. Owned by OnceKeys (keys.py).
"""

from agentring.ids import Epoch, OnceRef

MOST = 1_000


class UncertainStarts:
    """The epochs of those starts, by key."""

    def __init__(self) -> None:
        self._epochs: dict[OnceRef, frozenset[Epoch]] = {}

    def take(self, ref: OnceRef) -> frozenset[Epoch]:
        """Those of a key, which are forgotten."""
        return self._epochs.pop(ref, frozenset())

    def add(self, ref: OnceRef, epochs: frozenset[Epoch]) -> None:
        """Remembers them."""
        self._epochs[ref] = epochs
        if len(self._epochs) > MOST:
            del self._epochs[next(iter(self._epochs))]
