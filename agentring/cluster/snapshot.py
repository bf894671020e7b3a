"""The membership at one moment: immutable, so that whoever routes by it routes by one truth throughout."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from agentring.cluster.etcd.types import KeyValue
from agentring.cluster.records import decode_node
from agentring.ids import Incarnation, NodeId, Revision
from agentring.v1 import cluster_pb2


@dataclass(frozen=True, slots=True)
class Node:
    """One registration of a node."""

    node_id: NodeId
    address: str
    agents: frozenset[str]
    weight: int
    labels: Mapping[str, str]
    active: bool
    """It stands on the ring; else it is draining."""
    incarnation: Incarnation
    drained: bool = False
    """Its drain is over: it owns nothing, and waits to be made ACTIVE again, or ended."""
    lease_id: int = field(default=0, compare=False)
    """That its record names."""

    @classmethod
    def from_key_value(cls, kv: KeyValue) -> "Node":
        """Raises UnreadableRecord."""
        record = decode_node(kv.value)
        return cls(
            node_id=NodeId(record.node_id),
            address=record.address,
            agents=frozenset(record.agents),
            weight=max(1, record.weight),
            labels=MappingProxyType(dict(record.labels)),
            active=record.state != cluster_pb2.NODE_STATE_DRAINING,
            incarnation=Incarnation(kv.create_revision),
            drained=record.drained,
            lease_id=record.lease_id,
        )

    def to_info(self) -> cluster_pb2.NodeInfo:
        """As ClusterService shows it."""
        return cluster_pb2.NodeInfo(
            node_id=self.node_id,
            address=self.address,
            agents=sorted(self.agents),
            weight=self.weight,
            labels=dict(self.labels),
            state=cluster_pb2.NODE_STATE_ACTIVE if self.active else cluster_pb2.NODE_STATE_DRAINING,
            incarnation=self.incarnation,
            drained=self.drained,
        )


@dataclass(frozen=True, slots=True)
class Stray:
    """A node's key whose record no node has written so: it does not end with the lease that it names, or cannot be
    read. What can be read of it counts all the same."""

    incarnation: Incarnation
    mod_revision: Revision
    readable: bool
    leased: bool


@dataclass(frozen=True, slots=True)
class MembershipSnapshot:
    """The registered nodes as of a revision of etcd."""

    revision: Revision
    nodes: Mapping[NodeId, Node]
    strays: Mapping[NodeId, Stray] = field(default_factory=lambda: MappingProxyType({}))

    def hosting(self, agent: str) -> bool:
        """Whether any node on the ring hosts the agent."""
        return any(node.active and agent in node.agents for node in self.nodes.values())
