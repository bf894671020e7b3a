"""A call that has come to a node, what its client has been sent, and how often nodes were asked."""

import base64

from google.rpc import error_details_pb2, status_pb2

from harness.http2 import Wire
from harness.http2_frames import CONVERSE, GET_SESSION, RUN_TASK, message
from harness.http2_peers import ClientPeer, Heard, NodePeer

LIST = "/agentring.v1.SessionService/ListSessions"

OURS = (CONVERSE, GET_SESSION, RUN_TASK, LIST)

OPEN = message(b"open")


def opened(wire: Wire, client: ClientPeer, path: str, *fields: tuple[str, str]) -> tuple[Heard, NodePeer, int]:
    """A call that has come to a node, which has not answered: what its client hears, the node, its stream there."""
    task = (("x-task-key", "k"),) if path == RUN_TASK else ()
    stream_id = client.open(path, *task, *fields)
    client.send(stream_id, OPEN, end=path in (GET_SESSION, RUN_TASK, LIST))
    wire.settle()
    node = wire.node(wire.pool.asked[-1])
    return client.streams[stream_id], node, node.latest


def reason(heard: Heard) -> str:
    """Of the ErrorInfo."""
    packed = heard.fields.get("grpc-status-details-bin", "")
    status = status_pb2.Status.FromString(base64.b64decode(packed + "=" * (-len(packed) % 4)))
    info = error_details_pb2.ErrorInfo()
    return info.reason if status.details and status.details[0].Unpack(info) else ""


def asked_for(wire: Wire, path: str) -> int:
    """How many streams of this method nodes have seen."""
    found = [each for peers in wire.nodes.values() for peer in peers for each in peer.streams.values()]
    return sum(each.fields[":path"] == path for each in found)


def accepted(wire: Wire, client: ClientPeer, path: str = CONVERSE) -> tuple[int, NodePeer, int]:
    """A call that a node has taken: the client's stream, the node, the node's stream."""
    stream_id = client.open(path)
    client.send(stream_id, message(b"open"))
    wire.settle()
    node = wire.node()
    node_stream_id = node.latest
    node.accept(node_stream_id)
    wire.settle()
    return stream_id, node, node_stream_id
