"""Room for new sessions: where a node has as many as it may, those that have been idle longest are passivated.

Guarantees: only idle sessions go (no turn that has not ended, no stream attached), those first of which nothing was
told and from which no stream has gone for longest; none that has been idle for less than a second, or sessions that
are all in use would push each other out. Each goes as any passivated session goes, and comes back with its next call.
Several at a time, so that a node which is full looks through its sessions once for many new ones; where that finds
none, it does not look again for a second, and new sessions are refused meanwhile.

For durable stores alone: elsewhere a session that is given up is lost. Not while etcd takes no claims: what is given up
could not be taken up again. Owned by the incarnation.
"""

import asyncio
import heapq
import time
from collections.abc import Callable

import structlog

from agent_node.session.host import Host
from agent_node.session.session import Session
from agent_node.single_flight import SingleFlight
from agentring.errors import AgentringError

LEAST_IDLE_S = 1.0
AT_ONCE = 64
_PART = 64
"""Of its sessions a full node gives up one in so many at a time, AT_ONCE at most."""

_log = structlog.get_logger()


class IdleEvictor:
    """Makes room on one node."""

    def __init__(
        self,
        host: Host,
        tasks: asyncio.TaskGroup,
        *,
        claims_are_made: Callable[[], bool],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """claims_are_made: whether etcd takes claims now; now_s: the clock of EventLog.quiet_since_s."""
        self._host = host
        self._claims_are_made = claims_are_made
        self._now_s = now_s
        self._making: SingleFlight[None, bool] = SingleFlight(tasks)
        self._found_none_s = float("-inf")

    async def make(self) -> bool:
        """Passivates idle sessions; False: there was none to be given up. Whoever asks meanwhile waits for the same."""
        if not self._claims_are_made() or self._now_s() < self._found_none_s + LEAST_IDLE_S:
            return False
        return await self._making.get(None, self._make)

    async def _make(self) -> bool:
        sessions = self._host.sessions
        before_s = self._now_s() - LEAST_IDLE_S
        idle = (each for each in sessions if each.is_idle and each.log.quiet_since_s <= before_s)
        due = heapq.nsmallest(min(AT_ONCE, 1 + len(sessions) // _PART), idle, key=lambda each: each.log.quiet_since_s)
        given_up = sum(await asyncio.gather(*map(self._passivate, due)))
        if not given_up:
            self._found_none_s = self._now_s()
            return False
        _log.info("room_made", sessions=given_up)
        return True

    async def _passivate(self, session: Session) -> bool:
        try:
            await self._host.passivate(session)
        except AgentringError as error:
            _log.warning("passivation_failed", reason=error.reason)  # the session has failed, or the node is fenced
        return session.ref not in self._host
