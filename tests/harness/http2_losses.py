"""The ways in which a call loses its node, and a call on a Wire that is about to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agentring.http2 import frames
from agentring.http2.frames import Code
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, RUN_TASK, marked
from harness.http2_peers import ClientPeer, NodePeer

MOVED = ("x-agentring-moved", "1")
SAYS = ("x-agentring-node-says", "1")
DETAILS = ("grpc-status-details-bin", "CA4")


@dataclass(frozen=True)
class Loss:
    """How the node of the call that was opened there last is lost."""

    cause: str
    """As the metric names it."""
    lose: Callable[[Wire, NodePeer], None]
    needs_headers: bool = False
    """It comes in trailers, so the node must have taken the call."""

    def __call__(self, wire: Wire, node: NodePeer) -> None:
        """The router hears of it with the next `settle`, or at once."""
        self.lose(wire, node)

    def __str__(self) -> str:
        return self.cause


def _lose(wire: Wire, node: NodePeer) -> None:
    """Its process is gone."""
    wire.nodes[node.name].remove(node)
    node.lose()


def _move(_wire: Wire, node: NodePeer) -> None:
    node.drop_backlog(node.latest)
    node.finish(node.latest, "14", MOVED, DETAILS)


def _refuse(_wire: Wire, node: NodePeer) -> None:
    node.reset(node.latest, Code.REFUSED_STREAM)


def _go_away(wire: Wire, node: NodePeer) -> None:
    """By hand, since h2 takes nothing any more after its own GOAWAY."""
    wire.settle()
    node.connection.receive(frames.goaway(0, Code.NO_ERROR), wire.clock.time())


def _leave(wire: Wire, node: NodePeer) -> None:
    """It is no member any more, though its connection stands."""
    wire.settle()
    wire.nodes[node.name].remove(node)
    node.connection.node_left()


LOSSES = (
    Loss("connection", _lose),
    Loss("moved", _move, needs_headers=True),
    Loss("refused", _refuse),
    Loss("goaway", _go_away),
    Loss("node_left", _leave),
)


class Losing:
    """One call on a wire, whose nodes are lost one after another."""

    def __init__(self, wire: Wire, settings: dict[int, int] | None = None) -> None:
        """settings: the client's."""
        self.wire = wire
        self.client: ClientPeer = wire.client(settings)

    def opened(
        self, said: bytes, path: str = CONVERSE, fields: tuple[tuple[str, str], ...] = ()
    ) -> tuple[int, NodePeer]:
        """The call at a node that has not taken it: the client's stream, the node."""
        task = (("x-task-key", "k"),) if path == RUN_TASK else ()
        stream_id = self.client.open(path, *fields, *task)
        self.client.send(stream_id, said)
        self.wire.settle()
        return stream_id, self._asked()

    def attached(
        self, said: bytes, path: str = CONVERSE, fields: tuple[tuple[str, str], ...] = ()
    ) -> tuple[int, NodePeer]:
        """The call at a node that has taken it, told everything up to 5 and acknowledged the first message."""
        stream_id, node = self.opened(said, path, fields)
        node.accept(node.latest)
        node.send(node.latest, marked(5, 1, b"first"))
        self.wire.settle()
        return stream_id, node

    def next_node(self, after_s: float = 0.3) -> NodePeer:
        """The node that was asked after some time; its `latest` is the call."""
        self.wire.settle()
        self.wire.clock.advance(after_s)
        self.wire.settle()
        return self._asked()

    def hold_connections(self) -> None:
        """No connection to any node is made from now on."""
        self.wire.pool.held.update("abc")

    def release_connections(self) -> NodePeer:
        """The connections are there; the node that was asked."""
        self.wire.clock.advance(0.0)
        self.wire.settle()
        for name in list(self.wire.pool.held):
            self.wire.pool.release(name, connected=True)
        self.wire.settle()
        return self._asked()

    def close(self) -> None:
        """The client leaves; nothing is held for it any more."""
        if self.client in self.wire.clients:
            self.client.lose()
        for name in list(self.wire.pool.held):
            self.wire.pool.release(name, connected=False)
        self.wire.close()

    def _asked(self) -> NodePeer:
        return self.wire.node(self.wire.pool.asked[-1])
