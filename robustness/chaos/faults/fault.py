"""What a fault is: one cycle of doing something to the world and undoing it, and what must hold meanwhile.

A cycle begins with everything well and ends with everything well again, or complains. What holds always (I1, I2, I4,
stickiness) is the checker's business; a fault says only what is special about it. Called by `run`.
"""

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from robustness.chaos.cluster.host import Host
from robustness.chaos.cluster.world import World
from robustness.chaos.traffic.traffic import Traffic
from robustness.chaos.validate.evidence import Line

VOLATILE = "memory:"
"""The store that is gone with its node."""
RECOVERS_S = 15.0
"""After this long without an answer a client counts as lost; what must come sooner says so itself."""


@dataclass(slots=True)
class Scene:
    """Where and with what a cycle happens."""

    world: World
    traffic: Traffic
    drawn: random.Random
    complaints: list[str] = field(default_factory=list)
    never_ended: set[str] = field(default_factory=set)
    """Tasks that should have ended long ago."""

    @property
    def ttl_s(self) -> float:
        """Of the nodes' leases."""
        return float(self.world.plan.ttl_s)

    @property
    def fence_s(self) -> float:
        """The longest that a node goes on without a renewal, with half a second for the machine."""
        return self.ttl_s - max(1.0, 0.2 * self.ttl_s) + 0.5

    def victim(self) -> Host:
        """A node, drawn."""
        return self.world.nodes[self.drawn.choice(sorted(self.world.nodes))]

    def expect(self, condition: object, otherwise: str) -> None:
        """Complains unless it holds."""
        if not condition:
            self.complaints.append(otherwise)

    async def expect_recovery(self, within_s: float = RECOVERS_S) -> None:
        """Complains unless every client gets an answer to a turn that it sends from now on, and every node that runs
        has joined."""
        self.expect(await self.traffic.until_recovered(within_s), f"not every client was answered within {within_s} s")
        absent = await self.world.absent(RECOVERS_S)
        self.expect(not absent, f"{', '.join(absent)} did not join again within {RECOVERS_S} s")

    async def expect_fence(self, node: str, after_ns: int, within_s: float, slack_s: float = 2.0) -> Line | None:
        """Complains unless the node fenced itself by so long after a moment; slack_s: how much longer to wait for the
        line, to say how late it was."""
        line = await self.world.audit.until("fenced", node, after_ns, within_s + slack_s)
        took_s = (line.t_ns - after_ns) / 1e9 if line is not None else None
        late = took_s is None or took_s > within_s
        self.expect(not late, f"{node} was fenced {took_s} s after, not within {within_s} s")
        return line

    def expect_no_fence(self, node: str, after_ns: int) -> None:
        """Complains if the node was fenced since a moment."""
        self.expect(self.world.audit.find("fenced", node, after_ns) is None, f"{node} was fenced")

    def expect_no_claim_elsewhere(self, node: str, after_ns: int) -> None:
        """Complains if another node has claimed, since a moment, what this one held then."""
        moved = moved_from(node, after_ns, self.world.audit.lines())
        self.expect(not moved, f"of {node} moved {', '.join(moved)}")


def moved_from(node: str, after_ns: int, lines: Iterable[Line]) -> list[str]:
    """What the node held at a moment, and another one has claimed since. A task or a step that it has given up since
    has ended; a session must not have been given up either."""
    held: set[str] = set()
    moved = []
    for line in sorted(lines, key=lambda line: line.t_ns):
        is_later = line.t_ns > after_ns
        if line.event == "claimed" and line.node != node:
            if is_later and line.subject in held:
                moved.append(line.subject)
            held.discard(line.subject)
        elif line.event == "claimed" and not is_later:
            held.add(line.subject)
        elif (line.event, line.node) == ("released", node) and not (is_later and line.subject.startswith("session/")):
            held.discard(line.subject)
    return moved


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of `scripts/chaos`."""

    number: int
    """Its own; `--fault all` goes by it."""
    name: str
    must: str
    """What must hold, in few words."""
    cycle: Callable[[Scene], Awaitable[None]]
    failover: str = ""
    """The mark from which failovers count; empty: none is measured."""
    limit_s: Callable[[float], float] | None = None
    """The longest that one may take, of the TTL; None: it is measured, not judged."""
    members: int = 1
    alter: tuple[str, ...] = ()
    quota: bool = False
    wires: bool = False
    """It cuts nodes off: in namespaces of their own where that can be."""
    judged: frozenset[str] | None = None
    """Rules that count; None: all. (Where a mutation is part of the fault, the others are its own.)"""
    store: str = ""
    """The store that it is about, as Plan.store; empty: any."""
    on_file: bool = False
    """It is about the SQLite file, and says nothing of another store."""
    reads_etcd: bool = False
    """It looks for bytes on the way to etcd, which TLS does not show."""
    clients: int | None = None
    """How many clients with a session there must be; None: any number."""
    steps: int = 4
    """How long a turn may be, in steps."""
