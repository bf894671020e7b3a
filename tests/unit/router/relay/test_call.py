"""One call from end to end: where it goes, what each side is told, and how it ends."""

import pytest

from agentring.http2.frames import Code
from agentring.v1 import session_pb2, task_pb2
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, GET_SESSION, RUN_TASK, marked, message
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


def test_a_call_goes_to_the_session_in_its_headers_before_any_message() -> None:
    wire = Wire()
    client = wire.client()
    client.open()
    wire.settle()
    fields = wire.node().streams[1].fields
    assert (fields[":path"], fields["x-session-id"], fields["x-tenant-id"]) == (CONVERSE, "s", "default")
    assert len(fields["x-agentring-stream-id"]) == 32
    wire.close()


@pytest.mark.parametrize("sizes", [[1000], [1] * 100, [5, 3, 100]])
def test_a_call_goes_to_the_session_in_its_first_message(sizes: list[int]) -> None:
    wire = Wire()
    client = wire.client()
    stream_id = client.open(session=None)
    sent = OPEN + message(b"more")
    for size in sizes:
        assert "a" not in wire.nodes or len(sent) < len(OPEN + message(b"more"))
        client.send(stream_id, sent[:size])
        sent = sent[size:]
        wire.settle()
    client.send(stream_id, sent)
    wire.settle()
    heard = wire.node().streams[1]
    assert (heard.fields["x-session-id"], heard.fields["x-agent"], heard.data) == ("s", "echo", OPEN + message(b"more"))
    wire.close()


def test_a_task_goes_to_the_key_in_its_first_message() -> None:
    wire = Wire()
    client = wire.client()
    stream_id = client.open(RUN_TASK, session=None)
    client.send(stream_id, message(task_pb2.RunTaskRequest(task_key="k").SerializeToString()), end=True)
    wire.settle()
    assert wire.node().streams[1].fields["x-task-key"] == "k"
    wire.close()


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (message(b""), "the first message must be `open`"),
        (message(b"\xff\xff"), "malformed"),
        (b"", "the first message must be `open`"),
        (b"\1\0\0\0\1x", "malformed"),
    ],
)
def test_a_first_message_that_does_not_route_ends_the_call_with_a_reason(sent: bytes, sentence: str) -> None:
    wire = Wire()
    client = wire.client()
    stream_id = client.open(session=None)
    client.send(stream_id, sent, end=True)
    wire.settle()
    assert client.streams[stream_id].status == "3"
    assert client.streams[stream_id].sentence
    assert wire.pool.asked == []
    wire.close()


@pytest.mark.parametrize("path", ["/agentring.v1.NodeService/Anything", "/nobody.Knows/This"])
def test_what_nobody_serves_is_unimplemented_once_the_message_is_there(path: str) -> None:
    wire = Wire()
    client = wire.client()
    stream_id = client.open(path, session=None)
    wire.settle()
    assert not client.streams[stream_id].ended
    client.send(stream_id, message(b""), end=True)
    wire.settle()
    assert client.streams[stream_id].status == "12"
    wire.close()


def test_the_routers_own_services_are_one_more_node() -> None:
    wire = Wire()
    client = wire.client()
    stream_id = client.open("/agentring.v1.ClusterService/GetRing", session=None)
    client.send(stream_id, message(b""), end=True)
    wire.settle()
    own = wire.node("own")
    own.h2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    own.send(1, message(b"ring"))
    own.finish(1)
    wire.settle()
    heard = client.streams[stream_id]
    assert (heard.data, heard.status) == (message(b"ring"), "0")
    assert "x-agentring-ring" not in heard.fields
    wire.close()


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
def test_messages_pass_both_ways_and_trailers_end_the_call(path: str) -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client, path)
    client.send(stream_id, message(b"to the node") + message(b""))
    node.send(at_node, marked(1, 1, b"to the client") + marked(2, 2))
    wire.settle()
    client.send(stream_id, b"", end=True)
    wire.settle()
    assert node.streams[at_node].data == OPEN + message(b"to the node") + message(b"")
    assert node.streams[at_node].ended
    assert not client.streams[stream_id].ended
    node.finish(at_node, "5", ("x-why", "gone"))
    wire.settle()
    heard = client.streams[stream_id]
    assert heard.data == marked(1, 1, b"to the client") + marked(2, 2)
    assert (heard.status, heard.fields["x-why"], heard.reset) == ("5", "gone", None)
    assert node.streams[at_node].reset is None
    assert not client.connection.streams
    assert not node.connection.streams
    wire.close()


def test_a_node_may_end_a_call_before_the_client_does() -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client)
    node.finish(at_node, "9")
    wire.settle()
    assert (client.streams[stream_id].status, client.streams[stream_id].reset) == ("9", Code.NO_ERROR)
    assert node.streams[at_node].reset == CANCELLED
    wire.close()


def test_trailers_without_anything_before_them_are_the_answer() -> None:
    wire = Wire()
    client = wire.client()
    stream_id = client.open(GET_SESSION)
    client.send(stream_id, message(b""), end=True)
    wire.settle()
    wire.node().decline(1, "5", ("grpc-status-details-bin", "CAU"))
    wire.settle()
    heard = client.streams[stream_id]
    assert (heard.status, heard.trailers, heard.fields["grpc-status-details-bin"]) == ("5", None, "CAU")
    wire.close()


def test_a_client_that_cancels_cancels_at_the_node() -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client)
    client.reset(stream_id)
    wire.settle()
    assert node.streams[at_node].reset == CANCELLED
    assert wire.context.stats.cancelled == 1
    wire.close()


def test_a_client_that_is_lost_cancels_all_its_calls() -> None:
    wire = Wire()
    client = wire.client()
    calls = [accepted(wire, client) for _ in range(3)]
    client.lose()
    wire.settle()
    assert [node.streams[at_node].reset for _, node, at_node in calls] == [CANCELLED] * 3
    assert not wire.context.registry.calls
    wire.close()


@pytest.mark.parametrize("how", ["refused", "lost", "goaway"])
def test_a_node_that_breaks_off_a_call_that_it_had_taken_is_an_error_with_a_reason(how: str) -> None:
    wire = Wire("a", "b")
    client = wire.client()
    stream_id = client.open()
    client.send(stream_id, OPEN)
    wire.settle()
    node = wire.node(wire.pool.asked[0])
    node.accept(1)
    node.send(1, marked(1, 1, b"some"))
    wire.settle()
    if how == "lost":
        node.lose()
    elif how == "goaway":
        node.h2.close_connection(last_stream_id=0)
    else:
        node.reset(1, Code.REFUSED_STREAM)
    wire.settle()
    heard = client.streams[stream_id]
    assert (heard.data, heard.status) == (marked(1, 1, b"some"), "14")
    assert heard.sentence == "the connection to the session's node was lost"
    assert len(wire.pool.asked) == 1
    wire.close()
