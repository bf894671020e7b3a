"""The sweep of sessions: turns that were accepted, and whose session's owner has died, are run though no client comes
back for them.

Guarantees what ownership/sweep.py says: a session that its node left with turns that have not ended is activated;
activation runs them. One whose turn waits for an answer is left alone: the answer resumes it. Owned by the
incarnation.
"""

from collections.abc import Callable, Sequence

from agent_node.ownership.sweep import Sweep
from agent_node.quota.holds import RESUMING
from agent_node.session.host import Host
from agent_node.store import OpenSession, Store
from agentring.cluster.clock import Clock
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import NodeId, SessionRef


class SessionSweep(Sweep[SessionRef]):
    """One node's sweeps of sessions."""

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
        """host: where they are activated; the others as Sweep's."""
        super().__init__("session", membership, node_id, clock, interval_s=interval_s, claims_are_made=claims_are_made)
        self._store = store
        self._host = host

    @property
    def _draining(self) -> bool:
        return self._host.draining

    async def _list_open(self, after: SessionRef | None, at_most: int) -> Sequence[OpenSession]:
        return await self._store.list_open(after, at_most)

    def _is_here(self, ref: SessionRef) -> bool:
        return ref in self._host

    async def _resume(self, ref: SessionRef) -> None:
        await self._host.find(ref, RESUMING)
