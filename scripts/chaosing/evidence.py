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
    """`session/<tenant>/<id>` or `task/<tenant>/<key>`; empty: the node itself."""
    epoch: int = 0
    turn: str = ""
    commit: int | None = None
    """The store's number of the commit that the line tells of; None: there was none, or the store counts none."""

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Line":
        """A line as agent_node/audit.py writes it; fields that are not known are ignored."""
        subject = ""
        for kind in ("session", "task"):
            if kind in told:
                subject = f"{kind}/{told.get('tenant', '')}/{told[kind]}"
        return cls(
            told["t_ns"],
            told["node"],
            told["incarnation"],
            told["event"],
            subject,
            told.get("epoch", 0),
            told.get("turn", ""),
            told.get("commit"),
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
    event_epochs: tuple[int, ...] = ()
    """The epochs of its events, each once, in their order."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was done to the cluster."""

    t_ns: int
    what: str
    """`killed` ends the node's incarnation; other words are for people."""
    node: str = ""


@dataclass(frozen=True, slots=True)
class StoreCommit:
    """A turn as the store has it."""

    subject: str
    number: int
    """Its place in the order of the session's commits."""
    epoch: int
    turn: str


@dataclass(slots=True)
class Evidence:
    """Everything of one run."""

    lines: list[Line]
    calls: list[Call] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    commits: list[StoreCommit] = field(default_factory=list)
    durable: bool = False
    """Sessions and results outlive their node (a store of its own, not the process's memory)."""

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
