"""Which idle sessions are passivated, and when.

Guarantees: one collector chooses: only sessions that are idle (no turn that has not ended, no stream attached), those
first that have been idle longest. Each goes as any passivated session goes, and comes back with its next call. Nothing
is passivated while etcd takes no claims: they could not be activated elsewhere.

Three triggers ask it: time (`passivate_by_time`), the number of sessions (IdleEvictor) and memory (memory_limit.py).
For durable stores alone: a passivated session of a volatile one would be lost. Owned by the incarnation.
"""

import asyncio
import heapq
import time
from collections.abc import Callable

import structlog

from agent_node.session.host import Host
from agent_node.session.session import Session
from agent_node.single_flight import SingleFlight
from agentring.cluster.clock import Clock
from agentring.errors import AgentringError

LEAST_IDLE_S = 1.0
"""Sessions that were used a moment ago stay: on a node whose sessions are all in use they would evict each other."""
AT_ONCE = 64
"""How many are passivated at a time."""
_PART = 64
"""Of its sessions a full node passivates one in so many at a time, AT_ONCE at most."""
_LOOKS = 4
"""So often the sessions are looked through in the time that they may be idle."""
_BREATHE_EVERY = 256

_log = structlog.get_logger()


class IdleCollector:
    """Passivates one node's idle sessions."""

    def __init__(
        self, host: Host, *, claims_are_made: Callable[[], bool], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """claims_are_made: whether etcd takes claims now; now_s: the clock of EventLog.quiet_since_s."""
        self._host = host
        self.claims_are_made = claims_are_made
        self.now_s = now_s

    @property
    def size(self) -> int:
        """How many sessions there are."""
        return len(self._host.sessions)

    async def collect(self, idle_s: float, at_most: int | None = None) -> int:
        """Passivates sessions that have been idle for idle_s, and returns how many. at_most: those that have been idle
        longest; None: all."""
        if not self.claims_are_made():
            return 0
        due = await self._due(self.now_s() - idle_s)
        if at_most is not None:
            due = heapq.nsmallest(at_most, due, key=_quiet_since_s)
        passivated = 0
        for start in range(0, len(due), AT_ONCE):
            passivated += sum(await asyncio.gather(*map(self._passivate, due[start : start + AT_ONCE])))
        return passivated

    async def _due(self, before_s: float) -> list[Session]:
        due = []
        for number, session in enumerate(self._host.sessions, 1):
            if session.is_idle and session.log.quiet_since_s <= before_s:
                due.append(session)
            if number % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
        return due

    async def _passivate(self, session: Session) -> bool:
        try:
            await self._host.passivate(session)
        except AgentringError as error:
            _log.warning("passivation_failed", reason=error.reason)  # the session has failed, or the node is fenced
        return session.ref not in self._host


async def passivate_by_time(collector: IdleCollector, clock: Clock, idle_timeout_s: float) -> None:
    """Passivates sessions once they have been idle for idle_timeout_s, or up to a quarter longer, until cancelled."""
    while True:
        await clock.sleep(idle_timeout_s / _LOOKS)
        await collector.collect(idle_timeout_s)


class IdleEvictor:
    """Passivates some of a full node's idle sessions for new ones.

    Several at a time, so that a full node looks through its sessions once for many new ones; where that finds none, it
    does not look again for a second, and new sessions are refused meanwhile.
    """

    def __init__(self, collector: IdleCollector, tasks: asyncio.TaskGroup) -> None:
        self._collector = collector
        self._evictions: SingleFlight[None, bool] = SingleFlight(tasks)
        self._found_none_s = float("-inf")

    async def evict(self) -> bool:
        """Passivates idle sessions; False: none could be. Calls that come meanwhile share the outcome."""
        collector = self._collector
        if not collector.claims_are_made() or collector.now_s() < self._found_none_s + LEAST_IDLE_S:
            return False
        return await self._evictions.get(None, self._evict)

    async def _evict(self) -> bool:
        at_most = min(AT_ONCE, 1 + self._collector.size // _PART)
        evicted = await self._collector.collect(LEAST_IDLE_S, at_most)
        if evicted:
            _log.info("room_made", sessions=evicted)
        else:
            self._found_none_s = self._collector.now_s()
        return evicted > 0


def _quiet_since_s(session: Session) -> float:
    return session.log.quiet_since_s
