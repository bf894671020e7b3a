"""Keeps nodes that come and go repeatedly off the ring until they stay.

Each time such a node joins, new sessions would be made on it, and lost with it. Guarantees: leaving takes effect at
once; the first MOST_JOINS joins within WINDOW_S do, too (a restart, a rolling upgrade); each further one only after the
node has stayed for a while that doubles, LONGEST_HOLD_S at most; a node that was quiet for WINDOW_S is as good as new;
a ring is never empty for it. Routers that saw the same joins come to the same ring. Owners by claim are reached all the
while: only the ring's proposals change. Pure. Owned by the router's RingView.
"""

from collections import deque
from dataclasses import replace
from types import MappingProxyType

from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import Incarnation, NodeId

WINDOW_S = 120.0
MOST_JOINS = 3
FIRST_HOLD_S = 2.0
LONGEST_HOLD_S = 30.0


class Flapping:
    """The joins of late, by node."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._joins: dict[NodeId, deque[float]] = {}
        self._incarnations: dict[NodeId, Incarnation] = {}
        self.held: frozenset[NodeId] = frozenset()
        """Nodes that are kept off the ring now."""

    def steady(self, snapshot: MembershipSnapshot, now_s: float) -> tuple[MembershipSnapshot, float | None]:
        """The snapshot without the nodes that must stay first, and when the next of those has; None: there is none.

        now_s: on a clock that only grows.
        """
        due_s: dict[NodeId, float] = {}
        for node in snapshot.nodes.values():
            joins = self._joins.setdefault(node.node_id, deque())
            # (A drained node that only waits has not come back.)
            if self._incarnations.get(node.node_id) != node.incarnation and not node.drained:
                self._incarnations[node.node_id] = node.incarnation
                joins.append(now_s)
            while joins and joins[0] <= now_s - WINDOW_S:
                joins.popleft()
            if (ready_s := _ready_s(joins)) > now_s:
                due_s[node.node_id] = ready_s
        for node_id in self._joins.keys() - snapshot.nodes.keys():
            if not self._joins[node_id] or self._joins[node_id][-1] <= now_s - WINDOW_S:
                del self._joins[node_id]
                self._incarnations.pop(node_id, None)
        if all(node.node_id in due_s for node in snapshot.nodes.values() if node.active):
            due_s.clear()  # better one of these than none
        self.held = frozenset(due_s)
        nodes = {node_id: node for node_id, node in snapshot.nodes.items() if node_id not in due_s}
        return replace(snapshot, nodes=MappingProxyType(nodes)), min(due_s.values(), default=None)


def _ready_s(joins: deque[float]) -> float:
    """When a node may stand on the ring. joins: of late, the oldest first."""
    if len(joins) <= MOST_JOINS:
        return 0.0
    return joins[-1] + min(LONGEST_HOLD_S, FIRST_HOLD_S * 2.0 ** (len(joins) - MOST_JOINS - 1))
