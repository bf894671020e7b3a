"""The two ends of Wire by hand, where the protocol is to be broken."""

from __future__ import annotations

import weakref

from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.connection import Connection
from agentring.http2.limits import Limits
from harness.fired_clock import FiredClock
from harness.http2_frames import CONVERSE, Frame, frame, opening, parse, request
from router.relay.client_connection import ClientConnection
from router.relay.context import RelayContext
from router.relay.node_connection import NodeConnection
from router.relay.pings import PingPolicy


def feed(connection: Connection, piece: bytes, now_s: float) -> None:
    """One read, to its end; nothing after the connection's."""
    if connection.ended is None:
        connection.receive(piece, now_s)
    while connection.ended is None and connection.behind:
        connection.receive(b"", now_s)


def drain(connection: Connection) -> bytes:
    """All that it has to write."""
    written = b""
    while connection.out:
        written += b"".join(connection.out)
        connection.out.clear()
        connection.sent()
    return written


class RawClient:
    """A client by hand."""

    def __init__(self, context: RelayContext, clock: FiredClock, begin: bytes | None) -> None:
        self.clock = clock
        self.connection = ClientConnection(context, clock.time(), lambda: None)
        self.connection.receive(opening() if begin is None else begin, clock.time())
        self.read()

    def send(self, *pieces: bytes) -> list[Frame]:
        """Each piece is one read; what was answered."""
        for piece in pieces:
            feed(self.connection, piece, self.clock.time())
        return self.read()

    def open(
        self, stream_id: int, path: str = CONVERSE, *fields: tuple[str, str], session: str | None = "s"
    ) -> list[Frame]:
        """HEADERS of a call."""
        block = request(path, *fields, session=session)
        found = self.send(frames.headers(stream_id, block, end_stream=False))
        if any(each.kind == frames.SETTINGS and not each.flags for each in found):
            found += self.send(frame(frames.SETTINGS, frames.ACK))
        return found

    def read(self) -> list[Frame]:
        """What was written since."""
        return list(parse(drain(self.connection)))


class RawNode:
    """A node by hand."""

    def __init__(self, limits: Limits, budget: Budget, clock: FiredClock, begin: bytes | None) -> None:
        self.clock = clock
        self.ready_count = 0
        self_ref = weakref.ref(self)

        def ready() -> None:
            node = self_ref()
            assert node is not None
            node.ready_count += 1

        self.connection = NodeConnection("a:1", limits, budget, clock.time(), lambda: None, ready, PingPolicy())
        self.connection.receive(frames.settings({}) + frames.SETTINGS_ACK if begin is None else begin, clock.time())

    def send(self, *pieces: bytes) -> list[Frame]:
        """Each piece is one read; what was answered."""
        for piece in pieces:
            feed(self.connection, piece, self.clock.time())
        return self.read()

    def read(self) -> list[Frame]:
        """What was written since."""
        return list(parse(drain(self.connection)))
