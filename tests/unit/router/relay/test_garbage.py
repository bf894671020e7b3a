"""A call that has ended leaves nothing for the garbage collector: the data plane runs without it for long."""

import gc
from collections.abc import Callable, Iterator

import pytest

from agentring.http2 import frames
from agentring.http2.frames import Code
from agentring.http2.hpack import block
from agentring.rpc.messages import Assembler
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, frame, marked, message, opening, request
from harness.http2_raw import RawClient, RawNode
from router.relay.call import Call
from router.relay.call_events import CallEvents
from router.relay.call_timers import CallTimers
from router.relay.client_stream import ClientStream
from router.relay.node_connection import NodeConnection
from router.relay.node_stream import NodeStream
from router.relay.replay_buffer import ReplayBuffer
from router.routing.owner import Target

ACCEPTED = block(((":status", "200"), ("content-type", "application/grpc"), ("x-agentring-node", "a")))
TRAILERS = block((("grpc-status", "0"),))
KINDS = (Call, ClientStream, NodeStream, ReplayBuffer, Assembler, CallTimers)


class _OneNode:
    def __init__(self, node: RawNode) -> None:
        self.node = node

    def connect(self, target: Target, call: CallEvents) -> NodeConnection | None:
        return self.node.connection


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left() -> list[str]:
    """Asks no object what it is: other tests' may have an answer of their own."""
    return [type(each).__name__ for each in gc.get_objects() if issubclass(type(each), KINDS)]


def finish(client: RawClient, node: RawNode, stream_id: int, at_node: int) -> None:
    client.send(frames.data(stream_id, message(b"x"), end_stream=True))
    node.send(frames.headers(at_node, ACCEPTED, end_stream=False) + frames.data(at_node, marked(1, 1)))
    node.send(frames.headers(at_node, TRAILERS, end_stream=True))


def cut(client: RawClient, node: RawNode, stream_id: int, at_node: int) -> None:
    node.send(frames.headers(at_node, ACCEPTED, end_stream=False) + frames.data(at_node, marked(1, 1)[:9]))
    client.send(frames.data(stream_id, message(bytes(90))[:50]))
    client.send(frames.rst_stream(stream_id, Code.CANCEL))


def node_resets(client: RawClient, node: RawNode, stream_id: int, at_node: int) -> None:
    node.send(frames.headers(at_node, ACCEPTED, end_stream=False))
    client.send(frames.data(stream_id, message(bytes(9_000))))
    node.send(frames.rst_stream(at_node, Code.INTERNAL_ERROR))


def node_is_wrong(client: RawClient, node: RawNode, stream_id: int, at_node: int) -> None:
    client.send(frames.data(stream_id, message(b"")))
    node.send(frames.headers(at_node, ACCEPTED, end_stream=False) + frames.data(at_node, b"", end_stream=True))


def client_is_wrong(client: RawClient, node: RawNode, stream_id: int, at_node: int) -> None:
    client.send(frame(frames.WINDOW_UPDATE, 0, stream_id, bytes(4)))


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
@pytest.mark.parametrize("end", [finish, cut, node_resets, node_is_wrong, client_is_wrong])
def test_a_call_that_has_ended_is_gone(end: Callable[[RawClient, RawNode, int, int], None], path: str) -> None:
    wire = Wire("a")
    node = wire.raw_node()
    wire.context.nodes = _OneNode(node)
    client = RawClient(wire.context, wire.clock, opening())
    for index in range(5):
        stream_id = 1 + 2 * index
        client.open(stream_id, path, ("grpc-timeout", "1H"))
        assert list(node.connection.streams) == [stream_id]
        end(client, node, stream_id, stream_id)
        client.read()
        node.read()
    assert (list(client.connection.streams), list(node.connection.streams)) == ([], [])
    assert left() == []


def test_a_call_that_is_routed_by_its_first_message_is_gone_too() -> None:
    wire = Wire("a")
    client = RawClient(wire.context, wire.clock, opening())
    client.send(frames.headers(1, request(session=None), end_stream=False))
    client.send(frames.data(1, message(b"\xff"), end_stream=True))
    assert list(client.connection.streams) == []
    assert left() == []
