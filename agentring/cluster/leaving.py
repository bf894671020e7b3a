"""Takes a node off the ring, unless it is the last one there for an agent that it hosts.

Guarantees: of nodes that are asked at the same time, through whichever routers, never so many leave that an agent is
without an ACTIVE node. The decision and the node's record are one transaction: it compares, for each agent, the record
of another node that is ACTIVE and hosts it; one that begins to drain, or goes, changes its own, and the look is taken
again. Not guaranteed: that the other one can be reached, or that it stays. Called for a drain that is not forced.
"""

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdNoSpace
from agentring.cluster.etcd.types import Compare, KeyValue
from agentring.cluster.keys import Keys
from agentring.cluster.records import UnreadableRecord
from agentring.cluster.registration import Registration
from agentring.cluster.snapshot import Node
from agentring.errors import CoordinatorUnavailable, LastNodeOfAgent

_TRIES = 20


async def leave_ring(etcd: EtcdClient, keys: Keys, registration: Registration) -> None:
    """The node is DRAINING from now on. Raises LastNodeOfAgent, NodeFenced, CoordinatorUnavailable."""
    try:
        for _ in range(_TRIES):
            others = _others((await etcd.range(keys.nodes)).kvs, registration)
            stay = [_one_that_stays(agent, others) for agent in sorted(registration.identity.agents)]
            try:
                if await registration.set_draining(tuple(dict.fromkeys(stay))):
                    return
            except EtcdNoSpace:
                return  # nobody's record can change now, so the look holds, and each refusal says so to the routers
    except EtcdError:
        raise CoordinatorUnavailable from None
    raise CoordinatorUnavailable


def _others(kvs: tuple[KeyValue, ...], registration: Registration) -> list[tuple[Node, Compare]]:
    """The other nodes on the ring, and how to know that their records have not changed."""
    others = []
    for kv in kvs:
        try:
            node = Node.from_key_value(kv)
        except UnreadableRecord:
            continue
        # One without a lease may have nobody behind it.
        if node.active and kv.lease_id and kv.key != registration.key:
            others.append((node, Compare(kv.key, "mod", kv.mod_revision)))
    return others


def _one_that_stays(agent: str, others: list[tuple[Node, Compare]]) -> Compare:
    for node, unchanged in others:
        if agent in node.agents:
            return unchanged
    raise LastNodeOfAgent(agent)
