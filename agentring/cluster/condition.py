"""Which state a process is in, for health checks and metrics: one word for routers and nodes alike.

A process is healthy while it is SERVING or DEGRADED: without a coordinator it goes on with what it has. A router is
healthy without nodes too, which no other router would find, but says that no session can be served. FENCED is a
node that has dropped everything, or a process that does not believe what etcd says (agentring/cluster/history.py).
"""

from collections.abc import Callable
from enum import StrEnum

import structlog

_log = structlog.get_logger()


class Condition(StrEnum):
    """The word."""

    STARTING = "starting"
    SERVING = "serving"
    DEGRADED = "degraded"
    """It serves what it has; nothing new can be claimed."""
    NO_NODES = "no_nodes"
    """Of a router: no node is there that would take a session."""
    DRAINING = "draining"
    FENCED = "fenced"

    @property
    def serves(self) -> bool:
        """Whether it is healthy."""
        return self in (Condition.SERVING, Condition.DEGRADED, Condition.NO_NODES)


class Trouble(StrEnum):
    """What is wrong with the coordinator."""

    UNAVAILABLE = "unavailable"
    """It does not answer, or refuses us."""
    NO_SPACE = "no_space"
    """Its quota is exhausted: it refuses every transaction, while leases and reads go on."""
    HISTORY_BROKEN = "history_broken"
    """Its data went back in time or are another cluster's."""


class ConditionBoard:
    """Where the parts of a process say how they are, and what that makes of the whole."""

    def __init__(self) -> None:
        """STARTING."""
        self._phase = Condition.STARTING
        self._trouble: Trouble | None = None
        self._has_nodes = True
        self._listeners: list[Callable[[], None]] = []

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong with the coordinator; None: nothing, as far as is known."""
        return self._trouble

    @property
    def condition(self) -> Condition:
        """The word now."""
        if self._phase is not Condition.SERVING:
            return self._phase
        if self._trouble is Trouble.HISTORY_BROKEN:
            return Condition.FENCED
        if not self._has_nodes:
            return Condition.NO_NODES
        return Condition.SERVING if self._trouble is None else Condition.DEGRADED

    @property
    def serves_sessions(self) -> bool:
        """Whether a session can be served here, as far as is known."""
        return self.condition in (Condition.SERVING, Condition.DEGRADED)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls the listener after each change of the condition or of the trouble."""
        self._listeners.append(listener)

    def enter(self, phase: Condition) -> None:
        """The process itself is STARTING, SERVING, DRAINING or FENCED."""
        self._set(phase, self._trouble, self._has_nodes)

    def report(self, trouble: Trouble | None) -> None:
        """So the coordinator is."""
        self._set(self._phase, trouble, self._has_nodes)

    def report_nodes(self, there: bool) -> None:
        """For a router: whether there is a node that takes sessions."""
        self._set(self._phase, self._trouble, there)

    def _set(self, phase: Condition, trouble: Trouble | None, has_nodes: bool) -> None:
        if (phase, trouble, has_nodes) == (self._phase, self._trouble, self._has_nodes):
            return
        self._phase, self._trouble, self._has_nodes = phase, trouble, has_nodes
        _log.info("condition_changed", condition=self.condition, coordinator=trouble or "available")
        for listener in self._listeners:
            listener()
