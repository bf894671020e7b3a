"""What a node does for the cluster beside serving: it keeps its own record in etcd right, removes records that have no
node, announces which agents it hosts, and decides what becomes of claims whose owner is gone. Owned by the node's
IncarnationSupervisor, for all its incarnations.
"""

from collections.abc import Coroutine
from typing import Any

from agent_node.lifecycle.registration_repair import repair_own_record, watch_history
from agent_node.lifecycle.resources import NodeResources
from agentring.cluster.known_agents import KnownAgents, announce
from agentring.cluster.orphaned_claims import OrphanedClaims
from agentring.cluster.registration import Registration
from agentring.cluster.strays import StraySweep


class ClusterDuties:
    """Of one process."""

    def __init__(self, resources: NodeResources) -> None:
        """resources: of the process."""
        self._resources = resources
        self.orphaned_claims = OrphanedClaims(
            resources.etcd,
            resources.keys,
            resources.clock,
            registered=resources.membership.node,
            store_fences=resources.durable is not None,
        )
        self.known_agents = KnownAgents(resources.etcd, resources.keys, resources.clock)

    def registered(self, registration: Registration) -> list[Coroutine[Any, Any, None]]:
        """What is to run for a registration, until it is over."""
        membership = self._resources.membership
        return [
            repair_own_record(registration, membership, self._resources.clock),
            watch_history(registration, membership),
        ]

    def serving(self, registration: Registration) -> list[Coroutine[Any, Any, None]]:
        """What is to run for one that serves."""
        identity, resources = registration.identity, self._resources
        etcd, keys, clock, membership = resources.etcd, resources.keys, resources.clock, resources.membership
        strays = StraySweep(
            etcd,
            keys,
            clock,
            lambda: membership.current,
            identity.node_id,
            interval_s=resources.settings.lease_ttl_s,
        )
        return [
            *self.registered(registration),
            strays.run(),
            announce(etcd, keys, clock, identity.agents),
            self.known_agents.run(),
            self.known_agents.follow(membership),
        ]
