"""Every state transition goes through the audit log; here they are counted too, and tell the node's condition.

So that what metrics and health say, and what the audit log says, cannot differ. Called by everything that writes to the
audit log; read by the metrics, from a thread of theirs.
"""

from collections import Counter

from agent_node.audit import AuditLog, Transition
from agentring.cluster.condition import Condition, ConditionBoard
from agentring.ids import Incarnation, SessionRef, TaskRef

_PHASES: dict[Transition, Condition] = {
    "joined": Condition.SERVING,
    "drain_started": Condition.DRAINING,
    "drain_done": Condition.DRAINING,
    "fenced": Condition.FENCED,
}


class ObservedAudit:
    """An AuditLog in front of another."""

    def __init__(self, audit: AuditLog, board: ConditionBoard) -> None:
        """audit: where the lines go."""
        self._audit = audit
        self._board = board
        self.transitions: Counter[str] = Counter()
        """How often each has happened."""
        self.fences: Counter[str] = Counter()
        """How often the node was fenced, by the reason."""
        self.failures: Counter[str] = Counter()
        """How many turns and tasks have failed, by the reason."""

    @property
    def incarnation(self) -> Incarnation:
        """As AuditLog."""
        return self._audit.incarnation

    @incarnation.setter
    def incarnation(self, incarnation: Incarnation) -> None:
        self._audit.incarnation = incarnation

    def write(self, event: Transition, ref: SessionRef | TaskRef | None = None, **fields: str | int) -> None:
        """As AuditLog."""
        self._audit.write(event, ref, **fields)
        self.transitions[event] += 1
        if event == "fenced":
            self.fences[str(fields.get("reason", ""))] += 1
        if event in ("turn_failed", "task_failed"):
            self.failures[str(fields.get("reason", ""))] += 1
        if (phase := _PHASES.get(event)) is not None:
            self._board.enter(phase)
