"""How much longer one of two neighbouring calls takes, as the median of the pairs' differences, and how sure that is.

Pairs, since a machine's busy and quiet seconds would else be most of what is measured; the median, since a call that
the machine held up says nothing. Its standard error is half the distance between the order statistics that are a
standard deviation of the rank, sqrt(n)/2, below and above it: no shape is assumed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z_95 = 1.96
MIN_PAIRS = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """A median difference with its 95 % interval, in the sample's unit."""

    value: float
    half_width: float

    def is_within(self, bound: float) -> bool:
        """Whether all of the interval is within -bound and bound."""
        return abs(self.value) + self.half_width <= bound

    def is_beyond(self, bound: float) -> bool:
        """Whether all of the interval is outside of that."""
        return abs(self.value) - self.half_width > bound


def median_difference(differences: Sequence[float]) -> Difference:
    """differences: of MIN_PAIRS pairs at least. Raises ValueError."""
    count = len(differences)
    if count < MIN_PAIRS:
        raise ValueError(f"{count} pairs are too few")
    ranked = sorted(differences)
    middle, spread = (count - 1) / 2, math.sqrt(count) / 2
    low, high = ranked[math.floor(middle - spread)], ranked[math.ceil(middle + spread)]
    median = (ranked[math.floor(middle)] + ranked[math.ceil(middle)]) / 2
    return Difference(median, _Z_95 * (high - low) / 2)
