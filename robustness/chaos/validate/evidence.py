"""What is left of a run, and all that the checker knows: audit lines, calls, marks, and the store's commits.

All times are CLOCK_BOOTTIME in ns, the clock of the audit log, so that nodes, clients and faults stand on one line.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustness.chaos.validate.said import Said


def now_ns() -> int:
    """CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an audit log."""

    t_ns: int
    node: str
    incarnation: int
    event: str
    subject: str = ""
    """`session/<tenant>/<id>`, `task/<tenant>/<key>` or `once/<tenant>/<key>`; empty: the node itself."""
    epoch: int = 0
    turn: str = ""
    commit: int | None = None
    """The store's number of the commit that the line tells of; None: there was none, or the store counts none."""
    step: str = ""
    """Names a step of a run."""
    state: str = ""
    """What was recorded of it."""

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Line":
        """A line as agent_node/audit.py writes it; fields that are not known are ignored."""
        subject = ""
        for kind in ("session", "task", "once"):
            if kind in fields:
                subject = f"{kind}/{fields.get('tenant', '')}/{fields[kind]}"
        return cls(
            fields["t_ns"],
            fields["node"],
            fields["incarnation"],
            fields["event"],
            subject,
            fields.get("epoch", 0),
            fields.get("turn", ""),
            fields.get("commit"),
            fields.get("step", ""),
            fields.get("state", ""),
        )


@dataclass(slots=True)
class Call:
    """One try of a client's turn or task, from its sending to its end."""

    client: str
    subject: str
    turn: str
    """Its turn_id; the same in every try. Empty for tasks."""
    router: str
    invoked_ns: int
    accepted_ns: int | None = None
    """When the response's headers came, with node and epoch; None: they did not."""
    ended_ns: int = 0
    node: str = ""
    epoch: int = 0
    ok: bool = False
    """It was told the end of the turn: completed."""
    reason: str = ""
    """Why not."""
    number: int | None = None
    """Which of the session's turns it was, as its agent saw it."""
    result: str = ""
    """Of a task, to compare."""
    once: str = ""
    """The key of the step that its agent ran; empty: none."""
    once_result: str = ""
    """What the agent was told of it."""
    replayed: bool = False
    """The task had ended before: whoever was asked has told it, under the epoch of the run."""
    end_epoch: int = 0
    """Under which it ended: of a later run than `epoch`, if its router brought it back meanwhile."""
    event_epochs: tuple[int, ...] = ()
    """The epochs of what was told as it happened, each once, in their order; not of an outcome that is told again."""
    acknowledged_ns: int | None = None
    """When it was told that the turn was accepted; None: it was not."""
    keeps_valid: bool = False
    """It said that it keeps what stays valid where a turn runs again."""
    said: list[Said] = field(default_factory=list)
    """What it was sent of what the run says, in its order."""
    words: str = ""
    """The hash of all words, as the agent ended with it."""
    emitted: int = 0
    """How many events the agent emitted."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was done to the cluster."""

    t_ns: int
    what: str
    """`killed` ends the node's incarnation; other words are for people."""
    node: str = ""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A turn or a tool's start as the store has it."""

    subject: str
    number: int
    """A turn's own; a tool start's place in the order of the session's commits."""
    epoch: int
    """Under which it was written last."""


@dataclass(frozen=True, slots=True)
class StoredEnd:
    """An ended task as the store has it."""

    subject: str
    attempt: int
    """How many runs it has counted."""
    epoch: int
    """Under which it was run last."""
    end_epoch: int
    """Which the end itself says."""
    result: str = ""
    """The name of the run that is its result; empty: it has not completed."""


@dataclass(slots=True)
class Evidence:
    """Everything of one run."""

    lines: list[Line]
    calls: list[Call] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    completed: list[StoredRow] = field(default_factory=list)
    """The completed turns that the store has at the end."""
    tool_starts: list[StoredRow] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    """How many completed turns the store has counted, by session."""
    durable: bool = False
    """Sessions outlive their node: they are in a store, not in the process's memory."""
    durable_tasks: bool = False
    """The results of tasks do, and of steps that run once."""
    ended_tasks: list[StoredEnd] = field(default_factory=list)
    """The ended tasks that the store has at the end."""
    never_ended: set[str] = field(default_factory=set)
    """The tasks that were accepted and had not ended long after they should have."""

    def is_durable(self, subject: str) -> bool:
        """Whether what was committed of it outlives its node."""
        return self.durable if subject.startswith("session/") else self.durable_tasks

    def lines_by_subject(self) -> dict[str, list[Line]]:
        """In the order of t_ns, those of the nodes themselves left out."""
        found: dict[str, list[Line]] = defaultdict(list)
        for line in sorted(self.lines, key=lambda line: line.t_ns):
            if line.subject:
                found[line.subject].append(line)
        return found

    def calls_by_subject(self) -> dict[str, list[Call]]:
        """In the order of their invocation."""
        found: dict[str, list[Call]] = defaultdict(list)
        for call in sorted(self.calls, key=lambda call: call.invoked_ns):
            found[call.subject].append(call)
        return found


def read_lines(paths: Iterable[Path]) -> list[Line]:
    """The lines of audit logs. Raises ValueError for one that is none."""
    return [Line.from_json(json.loads(line)) for path in paths for line in path.read_text().splitlines()]
