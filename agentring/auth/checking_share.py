"""How much of the event loop the checking of unknown tokens may take: a fifth, and half of that for one origin.

A signature costs what some forwarded messages cost. Who sends new tokens all the time holds up nobody but those whose
tokens are new as well, and of those the ones of his own address first.
"""

from collections.abc import Callable
from typing import Final

SHARE: Final = 0.2
BURST_S: Final = 0.1
ORIGIN_SHARE: Final = SHARE / 2
MOST_ORIGINS: Final = 1_024


class _Bucket:
    """Seconds that may be used; they come with time."""

    __slots__ = ("at_s", "left_s")

    def __init__(self, now_s: float, burst_s: float) -> None:
        self.left_s = burst_s
        self.at_s = now_s

    def fill(self, now_s: float, share: float, burst_s: float) -> None:
        self.left_s = min(burst_s, self.left_s + (now_s - self.at_s) * share)
        self.at_s = now_s


class CheckingShare:
    """Of one listener's loop."""

    def __init__(self, cost_s: Callable[[], float]) -> None:
        """cost_s: the time by which checking is measured."""
        self._cost_s = cost_s
        self._total = _Bucket(cost_s(), BURST_S)
        self._origins: dict[str, _Bucket] = {}
        """Those that were here last, at the end."""

    def begin(self, origin: str) -> float | None:
        """When the check begins, for `end`; None: not now. origin: the peer's address; empty: it is not known."""
        now_s = self._cost_s()
        self._total.fill(now_s, SHARE, BURST_S)
        if origin:
            if (bucket := self._origins.pop(origin, None)) is None:
                bucket = _Bucket(now_s, BURST_S / 2)
            if len(self._origins) >= MOST_ORIGINS:
                del self._origins[next(iter(self._origins))]
            self._origins[origin] = bucket
            bucket.fill(now_s, ORIGIN_SHARE, BURST_S / 2)
            if bucket.left_s <= 0:
                return None
        return now_s if self._total.left_s > 0 else None

    def end(self, origin: str, began_s: float) -> None:
        """The check has ended."""
        used_s = self._cost_s() - began_s
        self._total.left_s -= used_s
        if (bucket := self._origins.get(origin)) is not None:
            bucket.left_s -= used_s
