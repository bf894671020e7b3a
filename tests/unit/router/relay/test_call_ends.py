"""What ends a call beside its node: deadlines, first messages that do not come, sizes, a router that stops."""

import pytest

from agentring.http2.frames import Code
from agentring.rpc.messages import PREFIX_BYTES
from agentring.v1 import session_pb2
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, marked, message
from harness.http2_peers import ClientPeer, NodePeer

OPEN = message(session_pb2.ConverseRequest(open=session_pb2.Open(session_id="s", agent="echo")).SerializeToString())
CANCELLED = Code.CANCEL


def accepted(
    wire: Wire, client: ClientPeer, path: str = CONVERSE, *fields: tuple[str, str]
) -> tuple[int, NodePeer, int]:
    """A call that a node has taken: the client's stream, the node, the node's stream."""
    stream_id = client.open(path, *fields)
    client.send(stream_id, OPEN)
    wire.settle()
    node = wire.node()
    at_node = node.latest
    node.accept(at_node)
    wire.settle()
    return stream_id, node, at_node


def test_the_deadline_is_told_to_the_node_and_kept_here() -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client, CONVERSE, ("grpc-timeout", "10S"))
    assert node.streams[at_node].fields["grpc-timeout"] == "10000m"
    wire.clock.advance(9.9)
    wire.settle()
    assert not client.streams[stream_id].ended
    wire.clock.advance(0.1)
    wire.settle()
    assert client.streams[stream_id].status == "4"
    assert node.streams[at_node].reset == CANCELLED
    wire.close()


def test_the_time_until_the_call_was_sent_on_counts() -> None:
    wire = Wire()
    client = wire.client()
    stream_id = client.open(CONVERSE, ("grpc-timeout", "10S"), session=None)
    wire.settle()
    wire.clock.advance(4.0)
    client.send(stream_id, OPEN)
    wire.settle()
    assert wire.node().streams[1].fields["grpc-timeout"] == "6000m"
    wire.close()


@pytest.mark.parametrize("path", [CONVERSE, "/nobody.Knows/This"])
def test_a_first_message_that_does_not_come_ends_the_call(path: str) -> None:
    wire = Wire()
    client = wire.client()
    stream_id = client.open(path, session=None)
    client.send(stream_id, OPEN[:-1])
    wire.settle()
    wire.clock.advance(wire.limits.first_frame_timeout_s - 0.1)
    wire.settle()
    assert not client.streams[stream_id].ended
    wire.clock.advance(0.1)
    wire.settle()
    assert client.streams[stream_id].status in ("3", "4")
    assert wire.context.stats.errors["FIRST_FRAME_TIMEOUT"] == 1
    wire.close()


@pytest.mark.parametrize(("path", "max_bytes"), [(CONVERSE, 1 << 20), (FOREIGN, 4 << 20)])
@pytest.mark.parametrize("excess_bytes", [1, 5_000_000])
def test_a_message_over_the_methods_limit_is_refused_after_it_was_taken_in(
    path: str, max_bytes: int, excess_bytes: int
) -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client, path)
    client.send(stream_id, message(bytes(max_bytes + excess_bytes)))
    wire.settle()
    assert client.streams[stream_id].status == "8"
    assert client.streams[stream_id].sentence == "the message has more than max_bytes"
    assert client.unsent_bytes(stream_id) == 0
    assert node.streams[at_node].reset == CANCELLED
    wire.close()


@pytest.mark.parametrize(("path", "max_bytes"), [(CONVERSE, 1 << 20), (FOREIGN, 4 << 20)])
def test_a_message_of_exactly_the_limit_passes(path: str, max_bytes: int) -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client, path)
    client.send(stream_id, message(bytes(max_bytes)))
    wire.settle()
    assert len(node.streams[at_node].data) == len(OPEN) + PREFIX_BYTES + max_bytes
    assert not client.streams[stream_id].ended
    wire.close()


def test_an_answer_beyond_8_mib_is_an_error() -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client)
    node.send(at_node, b"\0" + ((8 << 20) + 1).to_bytes(4, "big"))
    wire.settle()
    assert client.streams[stream_id].status == "8"
    wire.close()


def test_a_client_is_told_that_the_router_stops_and_where_to_go_on() -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client)
    node.send(at_node, marked(41, 1, bytes(1_000)) + marked(42, 2))
    wire.settle()
    before = len(client.streams[stream_id].data)
    for call in list(wire.context.registry.calls):
        call.go_away()
    wire.settle()
    said = session_pb2.ConverseResponse.FromString(bytes(client.streams[stream_id].data[before + PREFIX_BYTES :]))
    assert (said.through_seq, said.acked_frame) == (42, 2)
    assert said.events[0].go_away.reason == "ROUTER_STOPPING"
    assert said.events[0].go_away.resume_seq == 42
    wire.close()


def test_nothing_is_said_to_stopped_calls_that_were_not_taken_or_have_no_words_for_it() -> None:
    wire = Wire()
    client = wire.client()
    foreign, _, _ = accepted(wire, client, FOREIGN)
    waiting = client.open()
    wire.settle()
    for call in list(wire.context.registry.calls):
        call.go_away()
    wire.settle()
    assert (client.streams[foreign].data, client.streams[waiting].data) == (b"", b"")
    wire.close()
