"""What time it is for a store: the clock by which outcomes, tombstones and failures expire.

No wall clock: one that was set wrong, or jumps, would let a step or a task run twice. A durable store keeps a mark of
its own that its nodes move on (store/sql/shared_clock.py); a volatile one, which ends with its node, goes by the boot
clock. Wall clock times stand in rows too, but for people alone.

A moment is known within bounds. What must not be forgotten too early is stamped with the later one and compared with
the earlier one, so it stands for its whole retention, whichever node looks, and a few seconds longer.
"""

import time
from dataclasses import dataclass
from typing import Protocol

from agentring.cluster.clock import BootClock, Clock

_NS = 1_000_000_000


def in_ns(duration_s: float) -> int:
    """A duration in the unit of stamps."""
    return int(duration_s * _NS)


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happens, in ns of the store's clock, as far as this node knows."""

    at_least_ns: int
    about_ns: int
    at_most_ns: int
    wall_ns: int
    """By this node's wall clock, for people: nothing is decided by it."""

    def expiry_ns(self, keep_s: float) -> int:
        """The stamp of what stands for keep_s from now on."""
        return self.at_most_ns + in_ns(keep_s)

    def is_past(self, stamp_ns: int) -> bool:
        """Whether a stamp's time has come, for certain."""
        return stamp_ns <= self.at_least_ns


class StoreClock(Protocol):
    """A store's time."""

    def now(self) -> Moment:
        """This moment; asks nobody."""


class VolatileClock:
    """Of a store in this process: as exact as the boot clock, which does not jump."""

    def __init__(self, clock: Clock | None = None) -> None:
        """clock: None: the machine's own."""
        self._clock = clock or BootClock()

    def now(self) -> Moment:
        """As StoreClock."""
        now_ns = in_ns(self._clock.now_s())
        return Moment(now_ns, now_ns, now_ns, time.time_ns())
