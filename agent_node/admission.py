"""Bounded load: whether a node takes one more new session.

Guarantees, where a load factor is set: a node refuses new sessions beyond the factor times its weighted share of all
sessions, so one that the ring favours, or that was there before the others, does not fill further while others have
room; the router then asks the ring's next node. Existing sessions never move for it. With few sessions in all nobody is
refused: chance makes larger differences than load does. Does not guarantee the bound to the session: the count of all
sessions is read every COUNT_EVERY_S seconds.

The rule is consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016). Owned by the incarnation.
"""

from collections.abc import Sized

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.etcd import EtcdClient
from agentring.cluster.etcd_errors import EtcdError
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import NodeId

COUNT_EVERY_S = 2.0
FEWEST = 32
"""So many sessions a node may have in any case."""

_log = structlog.get_logger()


def share_limit(load_factor: float, sessions: int, snapshot: MembershipSnapshot | None, node_id: NodeId) -> float:
    """How many sessions a node may have. sessions: of all nodes together."""
    weights = {each.node_id: each.weight for each in snapshot.nodes.values() if each.active} if snapshot else {}
    if node_id not in weights:
        return float("inf")  # nothing is known of the others
    return max(FEWEST, load_factor * (sessions + 1) * weights[node_id] / sum(weights.values()))


class BoundedLoad:
    """One node's limit, kept up to date by `count`."""

    def __init__(
        self,
        etcd: EtcdClient,
        keys: Keys,
        clock: Clock,
        membership: Membership,
        node_id: NodeId,
        *,
        load_factor: float,
        max_sessions: int,
    ) -> None:
        """load_factor: 0: only max_sessions counts."""
        self._etcd = etcd
        self._keys = keys
        self._clock = clock
        self._membership = membership
        self._node_id = node_id
        self._load_factor = load_factor
        self._max_sessions = max_sessions
        self._counted: int | None = None
        self._own_then = 0

    def takes_new(self, sessions: int) -> bool:
        """Whether the node, which has so many sessions, takes a new one."""
        if sessions >= self._max_sessions:
            return False
        if not self._load_factor or self._counted is None:
            return True
        counted = self._counted + max(0, sessions - self._own_then)  # what came here since is known
        return sessions < share_limit(self._load_factor, counted, self._membership.current, self._node_id)

    async def count(self, own: Sized) -> None:
        """Counts the sessions of all nodes again and again, until cancelled. own: this node's."""
        while self._load_factor:
            try:
                self._counted, self._own_then = await self._etcd.count(self._keys.sessions), len(own)
            except EtcdError:
                _log.info("sessions_not_counted")  # by the last count, then
            await self._clock.sleep(COUNT_EVERY_S)
