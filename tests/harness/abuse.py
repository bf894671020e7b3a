"""What every attack on a router has in common: its scene, in stages, and how it came out.

An attack is a function of a Scene that blocks, for a thread or process of its own. It says when it is ready, waits for
`go`, says when all is in place, goes on until `over`, and returns an Outcome. Called by tests/abuse and scripts/abuse.
"""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from agentring.http2.frames import Code
from harness.rawhttp2 import RawConnection

SILENT = "closed without GOAWAY"
STAYED = "not closed"


@dataclass
class Outcome:
    """How an attack came out."""

    ends: Counter[str] = field(default_factory=Counter)
    """How its connections ended: GOAWAY's code, SILENT or STAYED."""
    why: Counter[str] = field(default_factory=Counter)
    """GOAWAY's debug data."""
    ended_after_s: float | None = None
    """The longest that a connection was let go on."""
    resets: Counter[str] = field(default_factory=Counter)
    """RST_STREAM that the router sent, by code."""
    statuses: Counter[str] = field(default_factory=Counter)
    """grpc-status of the calls that ended."""
    reasons: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    """How often it did what it does."""

    def add(self, connection: RawConnection) -> None:
        """Takes in how one connection ended; it must have been read."""
        code = connection.goaway
        self.ends[code.name if code is not None else SILENT if connection.is_over else STAYED] += 1
        if code is not None:
            self.why[connection.why] += 1
            assert connection.goaway_after_s is not None
            self.ended_after_s = max(self.ended_after_s or 0.0, connection.goaway_after_s)
        self.resets.update(Code(number).name for number in connection.resets.values())
        self.statuses.update(connection.statuses.values())
        self.reasons.update(connection.reasons)

    def as_json(self) -> dict[str, Any]:
        """For another process."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_json(cls, received: dict[str, Any]) -> "Outcome":
        """What `as_json` gave."""
        sent: dict[str, Any] = {
            name: Counter(value) if isinstance(value, dict) else value for name, value in received.items()
        }
        return cls(**sent)


@dataclass
class Scene:
    """Where an attack takes place, and its stages."""

    address: str
    """The router's."""
    size: int
    """How many: frames, connections, streams."""
    ready: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    placed: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def at_once(cls, address: str, size: int) -> "Scene":
        """One in which nothing is waited for: a flood comes once, what is held is let go when it is in place."""
        scene = cls(address, size)
        scene.go.set()
        scene.over.set()
        return scene

    def begin(self) -> None:
        """All is prepared: waits for `go`."""
        self.ready.set()
        self.go.wait()

    def hold(self, connections: Iterable[RawConnection] = ()) -> None:
        """All is in place: stays so until `over`, reading what comes on these connections."""
        self.placed.set()
        held = list(connections)
        while not self.over.wait(0.05):
            for connection in held:
                connection.pump()


Attack = Callable[[Scene], Outcome]


def session_id() -> str:
    """One that no other has."""
    return f"abuse-{uuid.uuid4().hex}"


def finish(outcome: Outcome, connections: Iterable[RawConnection], *, wait_s: float = 0.0) -> Outcome:
    """Reads what has come, waits for ends that are to come yet, and lets go."""
    deadline_s = time.monotonic() + wait_s
    for connection in connections:
        connection.wait_over(max(0.0, deadline_s - time.monotonic()))
        outcome.add(connection)
        connection.close()
    return outcome
