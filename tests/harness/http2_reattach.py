"""A call that a node has accepted and answered, and where it is opened after that one is lost."""

from harness.http2 import Wire
from harness.http2_frames import CONVERSE, RUN_TASK, marked, message
from harness.http2_losses import LOSSES
from harness.http2_peers import ClientPeer, NodePeer

lose, drain = (next(loss for loss in LOSSES if loss.cause == cause) for cause in ("connection", "moved"))

OPEN, TURN, CANCEL = message(b"open"), message(b"turn"), message(b"cancel")

EMPTY = message(b"")


def attached(wire: Wire, *, path: str = CONVERSE, said: bytes = OPEN + TURN) -> tuple[ClientPeer, int, NodePeer]:
    """A call that a node has taken and answered once: everything up to 5, the first message acknowledged."""
    client = wire.client()
    stream_id = client.open(path, *((("x-task-key", "k"),) if path == RUN_TASK else ()))
    client.send(stream_id, said)
    wire.settle()
    node = wire.node(wire.pool.asked[-1])
    node.accept(node.latest)
    node.send(node.latest, marked(5, 1, b"first"))
    wire.settle()
    return client, stream_id, node


def next_owner(wire: Wire, seconds: float = 0.0) -> tuple[NodePeer, int]:
    """Where the call was opened again after so long, and its stream there."""
    wire.clock.advance(seconds)
    wire.settle()
    node = wire.node(wire.pool.asked[-1])
    return node, node.latest
