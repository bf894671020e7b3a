"""Whether the proxies' core was theirs alone: how much of it processes other than the proxy used meanwhile.

Time of interrupts is left out: loopback's packets are carried in them, and they belong to nobody.
"""

import os
import time
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Contention:
    """Watches a core from its making on."""

    def __init__(self, core: int, pid: int | None) -> None:
        """`pid`: the proxy; None: the core should be idle."""
        self._core = core
        self._pid = pid
        self._began_s = time.monotonic()
        self._before_s = self._others_s()

    def share(self) -> float:
        """What others used of the core since, from 0 to 1."""
        return max(0.0, (self._others_s() - self._before_s) / (time.monotonic() - self._began_s))

    def _others_s(self) -> float:
        for line in Path("/proc/stat").read_text().splitlines():
            if line.startswith(f"cpu{self._core} "):
                user, nice, system = (int(ticks) for ticks in line.split()[1:4])
                return (user + nice + system) / _TICKS_PER_S - self._proxy_s()
        raise AssertionError(self._core)  # the proxies are pinned to it

    def _proxy_s(self) -> float:
        if self._pid is None:
            return 0.0
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
