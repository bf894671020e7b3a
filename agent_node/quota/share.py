"""What of a cluster's limit one node enforces: its part of the ring's weight.

The ring gives a node sessions and tasks in proportion to its weight, so the limit is cut in the same proportion. The
nodes' parts of a count add up to the limit exactly, unless a part would be 0: a smaller limit that is not 0 leaves each
node one, so the cluster goes beyond it by less than one a node; otherwise a session whose node has no part could never
be served. Nodes that see the membership change at different moments disagree until all have seen it: for that long the
parts may add up to more or less.
"""

from dataclasses import dataclass

from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import NodeId


@dataclass(frozen=True, slots=True)
class Share:
    """One node's: weight of the ring's, and what the nodes before it by name have of it."""

    before: int
    weight: int
    of: int

    def of_count(self, limit: int) -> int:
        """How many of a limit it may let have."""
        end = limit * (self.before + self.weight) // self.of
        return max(min(limit, 1), end - limit * self.before // self.of)

    def of_rate(self, limit: float) -> float:
        """How much a second."""
        return limit * self.weight / self.of


WHOLE = Share(0, 1, 1)
"""Of a node that knows of no other."""


class OwnShare:
    """One node's share, worked out anew with each membership."""

    def __init__(self, node_id: NodeId) -> None:
        """Called by the node's own name."""
        self._node_id = node_id
        self._snapshot: MembershipSnapshot | None = None
        self._share = WHOLE

    def of(self, snapshot: MembershipSnapshot | None) -> Share:
        """Its share in a membership; None: nothing is known of others."""
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._share = WHOLE if snapshot is None else share_of(snapshot, self._node_id)
        return self._share


def share_of(snapshot: MembershipSnapshot, node_id: NodeId) -> Share:
    """A node's share. One that is not on the ring has what it had as the last one there: it takes nothing new."""
    on_ring = sorted((node.node_id, node.weight) for node in snapshot.nodes.values() if node.active)
    before = 0
    for each, weight in on_ring:
        if each == node_id:
            return Share(before, weight, sum(weight for _, weight in on_ring))
        before += weight
    own = snapshot.nodes.get(node_id)
    weight = own.weight if own is not None else 1
    return Share(before, weight, before + weight)
