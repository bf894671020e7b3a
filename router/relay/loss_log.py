"""Logs calls that were lost with their nodes: of many in one second the first few."""

from __future__ import annotations

import structlog

from agentring.rpc.clock import Clock

_log = structlog.get_logger()

_MAX_LOGGED_PER_S = 10


class LossLog:
    """The log of one router's lost calls."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is logged yet."""
        self._clock = clock
        self._second = self._logged = 0

    def write(self, event: str, method: str, nodes: list[str]) -> None:
        """Logs the event, unless there were too many in this second."""
        second = int(self._clock.time())
        if second != self._second:
            self._second, self._logged = second, 0
        self._logged += 1
        if self._logged <= _MAX_LOGGED_PER_S:
            _log.warning(event, method=method, nodes=nodes)
