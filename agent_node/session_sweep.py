"""The sweep: turns that were accepted, and whose session's owner is gone, are run though no client comes back for them.

Guarantees, on a durable store: a session that its node left with turns that have not ended is activated by a node
that lives, at that node's second sweep after the claim is gone at the latest; activation runs them. Each node looks
after the sessions that the ring gives it, and leaves alone what has changed since its last sweep: that is somebody's,
or was until a moment ago. What has not changed may still be somebody's, who runs a long turn: a session whose claim
stands is never touched. One whose turn waits for an answer is left alone too: the answer takes it up. Nodes with
different rings may both reach for a session; its claim decides.

Does not sweep while the node drains, or while etcd takes no claims. A session that cannot be activated, whatever the
reason, is left to the next sweep and keeps no other from its activation. Owned by the incarnation.
"""

import asyncio
from collections.abc import Callable

import structlog

from agent_node.host import Host
from agent_node.store import OpenSession, Store
from agentring.cluster.clock import Clock
from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import AgentringError, StoreUnavailable
from agentring.ids import NodeId, SessionRef

PAGE = 1_000
AT_ONCE = 32

_log = structlog.get_logger()


class SessionSweep:
    """One node's sweeps."""

    def __init__(
        self,
        store: Store,
        host: Host,
        membership: Callable[[], MembershipSnapshot | None],
        node_id: NodeId,
        clock: Clock,
        *,
        interval_s: float,
        claims_are_made: Callable[[], bool],
    ) -> None:
        """membership: as it is now; interval_s: the lease's TTL; claims_are_made: whether etcd takes claims now."""
        self._store = store
        self._host = host
        self._membership = membership
        self._node_id = node_id
        self._clock = clock
        self._interval_s = interval_s
        self._claims_are_made = claims_are_made
        self._seen: dict[SessionRef, int] = {}
        """What the last sweep found left, and after which commit."""
        self._ring: Ring | None = None

    async def run(self) -> None:
        """Sweeps again and again, until cancelled."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self.sweep()
            except StoreUnavailable as error:
                _log.info("sessions_not_swept", reason=error.reason)  # the next one will

    async def sweep(self) -> None:
        """Activates what was left before the last sweep and has not changed since. Raises StoreUnavailable."""
        before, self._seen = self._seen, {}
        after: SessionRef | None = None
        while not self._host.draining and self._claims_are_made():
            page = await self._store.list_open(after, PAGE)
            left = [session for session in page if session.ref not in self._host]
            mine = await self._mine(left) if left else []
            self._seen |= {session.ref: session.commit for session in mine}
            due = [session.ref for session in mine if before.get(session.ref) == session.commit]
            for start in range(0, len(due), AT_ONCE):
                await asyncio.gather(*(self._take_up(ref) for ref in due[start : start + AT_ONCE]))
            if len(page) < PAGE:
                return
            after = page[-1].ref

    async def _mine(self, left: list[OpenSession]) -> list[OpenSession]:
        snapshot = self._membership()
        if snapshot is None:
            return []
        if self._ring is None or self._ring.revision != snapshot.revision:
            self._ring = await asyncio.to_thread(Ring, snapshot)
        ring = self._ring
        return [session for session in left if self._is_mine(ring, session)]

    def _is_mine(self, ring: Ring, session: OpenSession) -> bool:
        hosts = (node for node in ring.candidates(session.ref.ring_key) if session.agent in node.agents)
        first = next(hosts, None)
        return first is not None and first.node_id == self._node_id

    async def _take_up(self, ref: SessionRef) -> None:
        if self._host.draining or not self._claims_are_made():
            return
        try:
            await self._host.find(ref)
        except AgentringError as error:
            _log.debug("session_not_taken_up", reason=error.reason)  # another node's, or for the next sweep
        except Exception:
            _log.exception("session_not_taken_up")
        else:
            _log.info("session_taken_up")
