"""Which agents the cluster has had within the last hour: one whose nodes are away is not one that never was.

Each node writes a key for each agent that it hosts, not under its own lease but under one that outlives it by an hour
(`announce`). Routers and nodes read those keys now and then, and remember what they have seen hosted themselves
(`KnownAgents`); so a router that was started a moment ago knows as well as one that was there all the time. Guarantees:
an agent that was announced is known for REMEMBERED_S after the last of its nodes has gone; what clients ask for is
never remembered, so nothing grows by it. Does not guarantee that one is forgotten soon after that; nor that an agent is
known whose nodes left before they could announce it, except to processes that saw them. No wall clock decides.
"""

from collections.abc import Collection

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.etcd.types import Put
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import AgentNotFound, AgentringError, AgentUnavailable

REMEMBERED_S = 3_600
ANNOUNCE_EVERY_S = 600.0
REFRESH_EVERY_S = 30.0
_LEASE_S = REMEMBERED_S + 2 * int(ANNOUNCE_EVERY_S)
_RETRY_S = 5.0
_AT_ONCE = 100

_log = structlog.get_logger()


async def announce(etcd: EtcdClient, keys: Keys, clock: Clock, agents: Collection[str]) -> None:
    """Announces periodically which agents are hosted here, until cancelled."""
    while True:
        try:
            await announce_once(etcd, keys, agents)
        except EtcdError as error:
            _log.info("agents_not_announced", error=str(error))
            await clock.sleep(_RETRY_S)
        else:
            await clock.sleep(ANNOUNCE_EVERY_S)


async def announce_once(etcd: EtcdClient, keys: Keys, agents: Collection[str]) -> None:
    """Raises EtcdError."""
    # A lease for each time: what another node writes moves to that one's, and each runs out by itself.
    lease_id, _ = await etcd.grant(_LEASE_S)
    puts = [Put(keys.agent(agent), b"", lease_id) for agent in sorted(agents)]
    for start in range(0, len(puts), _AT_ONCE):
        await etcd.txn([], puts[start : start + _AT_ONCE])


class KnownAgents:
    """What one process knows. Resource handling: one task must run `run`, another one `follow`, or call `see`."""

    def __init__(self, etcd: EtcdClient, keys: Keys, clock: Clock) -> None:
        """Knows nothing yet."""
        self._etcd = etcd
        self._keys = keys
        self._clock = clock
        self._announced: frozenset[str] = frozenset()
        self._hosted: frozenset[str] = frozenset()
        self._left_at_s: dict[str, float] = {}
        """Agents that were hosted, and since when they are not."""

    def knows(self, agent: str) -> bool:
        """Whether the cluster has, or had within the last hour, a node that hosts the agent."""
        if agent in self._hosted or agent in self._announced:
            return True
        left_at_s = self._left_at_s.get(agent)
        return left_at_s is not None and self._clock.now_s() - left_at_s < REMEMBERED_S

    def missing(self, agent: str) -> AgentringError:
        """The answer to a call for an agent that no node hosts."""
        return AgentUnavailable(agent) if self.knows(agent) else AgentNotFound(agent)

    def see(self, snapshot: MembershipSnapshot) -> None:
        """The membership is this now."""
        now_s = self._clock.now_s()
        hosted = frozenset(agent for node in snapshot.nodes.values() for agent in node.agents)
        recent = {agent: at_s for agent, at_s in self._left_at_s.items() if now_s - at_s < REMEMBERED_S}
        self._left_at_s = recent | dict.fromkeys(self._hosted - hosted, now_s)
        self._hosted = hosted

    async def refresh(self) -> None:
        """Reads what was announced. Raises EtcdError."""
        found = await self._etcd.range(self._keys.agents)
        self._announced = frozenset(self._keys.agent_of(kv.key) for kv in found.kvs)

    async def run(self) -> None:
        """Reads it periodically, until cancelled."""
        while True:
            try:
                await self.refresh()
            except EtcdError:
                await self._clock.sleep(_RETRY_S)  # by what is known, until then
            else:
                await self._clock.sleep(REFRESH_EVERY_S)

    async def follow(self, membership: Membership) -> None:
        """Sees each snapshot, until cancelled."""
        snapshot = None
        while True:
            snapshot = await membership.next(snapshot)
            self.see(snapshot)
