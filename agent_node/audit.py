"""The audit log: every state transition as one JSON line, for checkers. Never payloads.

Lines of several processes may share a file: each is one O_APPEND write of less than a page. A line that cannot be
written (the disk is full) is missing, which a checker sees; it changes nothing in the session that it is about.

Transitions are counted here too, and set the node's condition, so that metrics and health never differ from the log.
"""

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Literal, Protocol

import structlog

from agentring.cluster.condition import Condition, ConditionBoard
from agentring.ids import Incarnation, NodeId, OnceRef, SessionRef, TaskRef
from agentring.process import private_files

_log = structlog.get_logger()

Transition = Literal[
    "joined",
    "fenced",
    "claimed",
    "released",
    "activated",
    "passivated",
    "turn_accepted",
    "turn_started",
    "turn_committed",
    "turn_failed",
    "turn_cancelled",
    "turn_rejected",
    "tool_started",
    "step_begun",
    "step_recorded",
    "storage_written",
    "task_started",
    "task_committed",
    "task_failed",
    "task_cancelled",
    "once_started",
    "once_committed",
    "once_failed",
    "once_unknown",
    "once_put_back",
    "once_resolved",
    "drain_started",
    "drain_done",
]

_PHASES: dict[Transition, Condition] = {
    "joined": Condition.SERVING,
    "drain_started": Condition.DRAINING,
    "drain_done": Condition.DRAINING,
    "fenced": Condition.FENCED,
}


class AuditLog(Protocol):
    """Where transitions go."""

    incarnation: Incarnation
    """Which incarnation of the node the next ones are of."""

    def write(self, event: Transition, ref: SessionRef | TaskRef | None = None, **fields: str | int) -> None:
        """Records one transition."""


class NoAuditLog:
    """Records nothing."""

    def __init__(self) -> None:
        """Nothing to open."""
        self.incarnation = Incarnation(0)

    def write(self, event: Transition, ref: SessionRef | TaskRef | None = None, **fields: str | int) -> None:
        """Records nothing."""


class FileAuditLog:
    """One line a transition, in the order of the process. Resource handling: `close()`."""

    def __init__(self, path: Path, node_id: NodeId) -> None:
        """Raises OSError."""
        self._file = private_files.open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._node_id = node_id
        self.incarnation = Incarnation(0)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def write(self, event: Transition, ref: SessionRef | TaskRef | None = None, **fields: str | int) -> None:
        """Records one transition, at CLOCK_BOOTTIME."""
        line: dict[str, str | int] = {
            "t_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            "node": self._node_id,
            "incarnation": self.incarnation,
            "event": event,
        }
        if isinstance(ref, SessionRef):
            line |= {"tenant": ref.tenant, "session": ref.session_id}
        elif isinstance(ref, OnceRef):
            line |= {"tenant": ref.tenant, "once": ref.task_key}
        elif isinstance(ref, TaskRef):
            line |= {"tenant": ref.tenant, "task": ref.task_key}
        try:
            os.write(self._file, json.dumps(line | fields, separators=(",", ":")).encode() + b"\n")
        except OSError:
            _log.exception("audit_line_lost", transition=event)


class ObservedAudit:
    """An AuditLog in front of another, which counts the transitions and sets the node's condition."""

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
