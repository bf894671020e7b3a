"""What a node does for the cluster beside serving: it looks after its own record and after strays, says which agents it
hosts, judges claims that were left behind, and counts how many sessions are its share. Owned by the node's
IncarnationSupervisor, for all of them.
"""

from collections.abc import Coroutine
from typing import Any

from agent_node.lifecycle.own_record import keep_own_record, watch_history
from agent_node.ownership.admission import BoundedLoad
from agent_node.settings import NodeSettings
from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.cluster.known_agents import KnownAgents, announce
from agentring.cluster.left_claims import LeftClaims
from agentring.cluster.membership import Membership
from agentring.cluster.registration import Registration
from agentring.cluster.strays import StraySweep


class Upkeep:
    """What lasts as long as the process."""

    def __init__(
        self, etcd: EtcdClient, keys: Keys, clock: Clock, membership: Membership, *, ttl_s: float, store_fences: bool
    ) -> None:
        """ttl_s: the lease's; store_fences: as LeftClaims."""
        self._etcd = etcd
        self._keys = keys
        self._clock = clock
        self._membership = membership
        self._ttl_s = ttl_s
        self.left_claims = LeftClaims(etcd, keys, clock, registered=membership.node, store_fences=store_fences)
        self.known_agents = KnownAgents(etcd, keys, clock)

    def load(self, registration: Registration, settings: NodeSettings) -> BoundedLoad:
        """How many sessions a registration takes."""
        return BoundedLoad(
            self._etcd,
            self._keys,
            self._clock,
            self._membership,
            registration.identity.node_id,
            load_factor=settings.load_factor,
            max_sessions=settings.max_sessions,
        )

    def registered(self, registration: Registration) -> list[Coroutine[Any, Any, None]]:
        """What is to run for a registration, until it is over."""
        return [
            keep_own_record(registration, self._membership, self._clock),
            watch_history(registration, self._membership),
        ]

    def serving(self, registration: Registration) -> list[Coroutine[Any, Any, None]]:
        """What is to run for one that serves."""
        identity, membership = registration.identity, self._membership
        strays = StraySweep(
            self._etcd,
            self._keys,
            self._clock,
            lambda: membership.current,
            identity.node_id,
            interval_s=self._ttl_s,
        )
        return [
            *self.registered(registration),
            strays.run(),
            announce(self._etcd, self._keys, self._clock, identity.agents),
            self.known_agents.run(),
            self.known_agents.follow(membership),
        ]
