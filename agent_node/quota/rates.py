"""How much a second: a bucket for each party, which fills at its rate and holds what a second brings.

Guarantees: over any t seconds a party spends at most rate * (t + 1), and one more amount where a single one is larger
than a second's. As many parties as may be are remembered; the one that spent longest ago goes first, and begins anew
with a full bucket.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

_MOST = 10_000


class Rates:
    """Buckets by party."""

    def __init__(self, now_s: Callable[[], float], most: int = _MOST) -> None:
        """now_s: a clock that never goes back."""
        self._now_s = now_s
        self._most = most
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """What is left, and as of when."""

    def wait_s(self, party: Hashable, rate: float, amount: float) -> float:
        """How long until the party may spend an amount; 0: now."""
        return max(0.0, min(amount, _capacity(rate)) - self._filled(party, rate)) / rate

    def spend(self, party: Hashable, rate: float, amount: float) -> None:
        """Takes an amount, as wait_s has just said that it may be."""
        self._left[party] = (self._filled(party, rate) - amount, self._now_s())
        self._left.move_to_end(party)
        if len(self._left) > self._most:
            self._left.popitem(last=False)

    def _filled(self, party: Hashable, rate: float) -> float:
        capacity = _capacity(rate)
        left, as_of_s = self._left.get(party, (capacity, 0.0))
        return min(capacity, left + (self._now_s() - as_of_s) * rate)


def _capacity(rate: float) -> float:
    return max(1.0, rate)
