"""Membership snapshots and rings of made-up nodes."""

from types import MappingProxyType

from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot, Node
from agentring.errors import CoordinatorUnavailable
from agentring.ids import Incarnation, NodeId, Revision


def node(name: str, *, agents: tuple[str, ...] = ("echo",), weight: int = 1, active: bool = True) -> Node:
    """A node whose address is its name."""
    return Node(
        node_id=NodeId(name),
        address=f"{name}:1",
        agents=frozenset(agents),
        weight=weight,
        labels=MappingProxyType({}),
        active=active,
        incarnation=Incarnation(1),
    )


def snapshot(*nodes: Node, revision: int = 1) -> MembershipSnapshot:
    """A snapshot of these nodes."""
    return MembershipSnapshot(Revision(revision), MappingProxyType({each.node_id: each for each in nodes}))


class FixedView:
    """A ring view that is set by hand."""

    def __init__(self, *nodes: Node) -> None:
        self.set(*nodes)

    def set(self, *nodes: Node) -> None:
        self._snapshot = snapshot(*nodes)
        self._ring = Ring(self._snapshot)

    @property
    def ring(self) -> Ring:
        return self._ring

    @property
    def snapshot(self) -> MembershipSnapshot:
        return self._snapshot


class EmptyView:
    """A ring view before its first snapshot."""

    @property
    def ring(self) -> Ring:
        raise CoordinatorUnavailable

    @property
    def snapshot(self) -> MembershipSnapshot:
        raise CoordinatorUnavailable
