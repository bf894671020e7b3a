"""Bounded load: whether a node takes one more new session.

Guarantees, where a load factor is set: a node refuses new sessions beyond the factor times its weighted share of all
sessions, so one that the ring favours, or that was there before the others, does not fill further while others have
room; the router then asks the ring's next node. Existing sessions never move for it. With few sessions in all nobody is
refused: chance makes larger differences than load does. A node's share is its part of the weight of those that host the
session's agent, so one that hosts it alone does not refuse for what nobody else could take.

All sessions are counted every COUNT_EVERY_S seconds, and of what came since a node knows its own alone: it may think
that there are fewer than there are, never more but for those that have ended since. So before it refuses for that, it
counts anew: otherwise nodes that fill together, all from nothing say, would each refuse for what they do not know of
the others. It does not where its last count is RECOUNT_EVERY_S old at most and little has come since, to it or, refused
here, to others: a node that is full refuses many.

The rule is consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016). Owned by the incarnation.
"""

import asyncio
from collections.abc import Callable

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import NodeId

COUNT_EVERY_S = 2.0
RECOUNT_EVERY_S = 0.25
_MUCH = 0.1
"""Of what the node had at the last count."""
FEWEST = 32
"""So many sessions a node may have in any case."""

_log = structlog.get_logger()


def share_limit(
    load_factor: float, sessions: int, snapshot: MembershipSnapshot | None, node_id: NodeId, agent: str
) -> float:
    """How many sessions a node may have before it refuses a new one of this agent. sessions: of all nodes together."""
    nodes = snapshot.nodes.values() if snapshot is not None else ()
    weights = {each.node_id: each.weight for each in nodes if each.active and agent in each.agents}
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
        self._counted_at_s = 0.0
        self._own_then = 0
        self._refused_since = 0
        self._counting = asyncio.Lock()
        self.arriving: Callable[[], int] = lambda: 0
        """How many of the node's sessions no count has yet: their claims are on their way."""

    async def takes_new(self, sessions: Callable[[], int], agent: str) -> bool:
        """Whether the node takes a new session of an agent. sessions: how many it has or is about to; asked again after
        a count, and nothing is awaited after that."""
        if self._has_room(sessions(), agent):
            return True
        if self._load_factor and sessions() < self._max_sessions:
            await self._recount(sessions)
        has_room = self._has_room(sessions(), agent)
        self._refused_since += not has_room
        return has_room

    async def count(self, sessions: Callable[[], int]) -> None:
        """Counts the sessions of all nodes again and again, until cancelled. sessions: this node's."""
        while self._load_factor:
            async with self._counting:
                await self._count(sessions)
            await self._clock.sleep(COUNT_EVERY_S)

    def _has_room(self, sessions: int, agent: str) -> bool:
        if sessions >= self._max_sessions:
            return False
        if not self._load_factor or self._counted is None:
            return True
        counted = self._counted + max(0, sessions - self._own_then)  # what came here since is known
        return sessions < share_limit(self._load_factor, counted, self._membership.current, self._node_id, agent)

    async def _recount(self, sessions: Callable[[], int]) -> None:
        async with self._counting:  # one at a time, and what another has just counted will do
            is_old = self._clock.now_s() - self._counted_at_s >= RECOUNT_EVERY_S
            if is_old or sessions() - self._own_then + self._refused_since > _MUCH * self._own_then:
                await self._count(sessions)

    async def _count(self, sessions: Callable[[], int]) -> None:
        self._counted_at_s = self._clock.now_s()
        try:
            self._counted = await self._etcd.count(self._keys.sessions)
            self._own_then, self._refused_since = max(0, sessions() - self.arriving()), 0
        except EtcdError:
            _log.info("sessions_not_counted")  # by the last count, then
