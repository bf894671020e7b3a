"""Admission: whether a node takes one more new session.

Guarantees, where a load factor is set: a node refuses new sessions beyond the factor times its weighted share of all
sessions, so one that the ring favours, or that was there before the others, does not fill further while others have
capacity; the router then asks the ring's next node. Existing sessions never move for it. With few sessions in all
nobody is refused: chance makes larger differences than load does. A node's share is its part of the weight of those
that host the session's agent, so one that hosts it alone does not refuse for what nobody else could take.

All sessions are counted every COUNT_EVERY_S seconds, and of what came since a node knows its own alone: it may think
that there are fewer than there are, never more but for those that have ended since. So before it refuses for that, it
counts anew: otherwise nodes that fill together, all from nothing say, would each refuse for what they do not know of
the others. It does not where its last count is RECOUNT_EVERY_S old at most and little has come since, to it or, refused
here, to others: a node that is full refuses many.

The rule is consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016). Owned by the incarnation.
"""

import asyncio
from collections.abc import Awaitable, Callable

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
_EVICTIONS = 4
"""How often idle sessions are evicted for one new session, while others take the place meanwhile."""

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
        arriving: Callable[[], int] = lambda: 0,
    ) -> None:
        """load_factor: 0: only max_sessions counts; arriving: how many of the node's sessions no count has yet, since
        their claims are on their way."""
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
        self._arriving = arriving

    async def takes_new(self, sessions: Callable[[], int], agent: str) -> bool:
        """Whether the node takes a new session of an agent. sessions: how many it has or is about to; asked again after
        a count, and nothing is awaited after that."""
        if self._has_capacity(sessions(), agent):
            return True
        if self._load_factor and sessions() < self._max_sessions:
            await self._recount(sessions)
        has_capacity = self._has_capacity(sessions(), agent)
        self._refused_since += not has_capacity
        return has_capacity

    async def count(self, sessions: Callable[[], int]) -> None:
        """Counts the sessions of all nodes again and again, until cancelled. sessions: this node's."""
        while self._load_factor:
            async with self._counting:
                await self._count(sessions)
            await self._clock.sleep(COUNT_EVERY_S)

    def _has_capacity(self, sessions: int, agent: str) -> bool:
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
            self._own_then, self._refused_since = max(0, sessions() - self._arriving()), 0
        except EtcdError:
            _log.info("sessions_not_counted")  # by the last count, then


class Admission:
    """Whether one node takes a new session: by its memory, its own limit, and its share of all nodes' sessions.

    Where memory or the limit says no, idle sessions are evicted for the new one; where the share does, other nodes have
    capacity.
    """

    def __init__(
        self,
        load: BoundedLoad,
        *,
        max_sessions: int,
        memory_exceeded: Callable[[], bool],
        evict: Callable[[], Awaitable[bool]],
    ) -> None:
        """evict: gives idle sessions up; False: there is none that can be."""
        self._load = load
        self._max_sessions = max_sessions
        self._memory_exceeded = memory_exceeded
        self._evict = evict

    async def admit(self, sessions: Callable[[], int], agent: str) -> bool:
        """Whether the node takes a new session of an agent. sessions: as BoundedLoad.takes_new; nothing is awaited
        after the last look at it."""
        if self._memory_exceeded() and not await self._evict():
            return False
        for _ in range(_EVICTIONS):
            if await self._load.takes_new(sessions, agent):
                return True
            if sessions() < self._max_sessions or not await self._evict():
                return False
        return False
