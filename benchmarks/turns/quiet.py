"""When a system has nothing left to do of the load before: callers who have left leave turns behind that go on."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

_LOOK_S = 0.2
_QUIET_SHARE = 0.05
"""Of one core."""
_LONGEST_S = 20.0
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


async def until_quiet(pids: Iterable[int]) -> None:
    """Returns when the processes do next to nothing, after 20 s at the latest."""
    pids = tuple(map(abs, pids))
    before_s = _cpu_s(pids)
    for _ in range(int(_LONGEST_S / _LOOK_S)):
        await asyncio.sleep(_LOOK_S)
        now_s = _cpu_s(pids)
        if now_s - before_s <= _QUIET_SHARE * _LOOK_S:
            return
        before_s = now_s


def _cpu_s(pids: Iterable[int]) -> float:
    return sum(map(_cpu_s_of, pids))


def _cpu_s_of(pid: int) -> float:
    # Behind the name, which may hold spaces: user and system time are fields 14 and 15 of /proc/<pid>/stat.
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended: the load says so
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
