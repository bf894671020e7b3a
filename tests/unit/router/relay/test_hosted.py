"""Services that are not ours: what they say goes on as they say it, when they say it."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import Code, Setting
from agentring.http2.hpack import block
from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, marked, message
from harness.http2_peers import ClientPeer, NodePeer

KIB = 1 << 10
HEAD = ((":status", "200"), ("content-type", "application/grpc"))
UPLOAD = message(bytes(64 * KIB - 5)) * 32
"""2 MiB."""


def opened(wire: Wire, client: ClientPeer, sent: bytes, path: str = FOREIGN) -> tuple[int, NodePeer, int]:
    """A call that its node has not answered: the client's stream, the node, the node's stream."""
    stream_id = client.open(path)
    client.send(stream_id, sent)
    wire.settle()
    node = wire.node(wire.pool.asked[-1])
    return stream_id, node, node.latest


def trailers_of(size_bytes: int) -> bytes:
    """A header block of one field that long, beside the status."""
    return block((("grpc-status", "0"), *((f"x-{number}", "v" * 1000) for number in range(size_bytes // 1000))))


@pytest.mark.parametrize("fields", [(), (("x-agentring-node", "a"),), (("x-more", "y"),)])
def test_headers_go_on_before_there_is_a_message(fields: tuple[tuple[str, str], ...]) -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = opened(wire, client, message(b"x"))
    node.h2.send_headers(at_node, [*HEAD, *fields])
    wire.settle()
    heard = client.streams[stream_id]
    assert (heard.fields[":status"], heard.fields.get("x-more"), heard.ended) == (
        "200",
        dict(fields).get("x-more"),
        False,
    )
    node.finish(at_node, "14")
    wire.settle()
    assert (heard.status, wire.pool.asked) == ("14", ["a"])
    wire.close()


def test_data_before_any_headers_is_a_fault() -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = opened(wire, client, message(b"x"))
    node.connection.receive(frames.data(at_node, message(b"y")), wire.clock.time())
    wire.settle()
    assert (client.streams[stream_id].status, node.streams[at_node].reset) == ("13", Code.PROTOCOL_ERROR)
    wire.close()


def test_an_upload_larger_than_what_is_kept_is_answered_at_its_end() -> None:
    wire = Wire(node_settings={Setting.INITIAL_WINDOW_SIZE: 1 << 24})
    client = wire.client()
    stream_id, node, at_node = opened(wire, client, UPLOAD)
    client.send(stream_id, b"", end=True)
    wire.settle()
    assert (node.streams[at_node].data, node.streams[at_node].ended) == (UPLOAD, True)
    node.h2.send_headers(at_node, HEAD)
    node.send(at_node, message(b"done"))
    node.finish(at_node)
    wire.settle()
    assert (client.streams[stream_id].data, client.streams[stream_id].status) == (message(b"done"), "0")
    wire.close()


@pytest.mark.parametrize("how", ["refused", "redirected", "reset"])
@pytest.mark.parametrize(("sent", "is_sent_again"), [(UPLOAD[: 512 * KIB], True), (UPLOAD, False)])
def test_only_a_call_that_is_kept_whole_is_sent_to_another_node(how: str, sent: bytes, is_sent_again: bool) -> None:
    wire = Wire("a", "b", node_settings={Setting.INITIAL_WINDOW_SIZE: 1 << 24})
    client = wire.client()
    stream_id, node, at_node = opened(wire, client, sent)
    other = "b" if node.name == "a" else "a"
    match how:
        case "refused":
            node.refuse(at_node, "draining")
        case "redirected":
            node.redirect(at_node, other)
        case "reset":
            node.reset(at_node, Code.REFUSED_STREAM)
    wire.settle()
    if is_sent_again:
        assert wire.node(wire.pool.asked[-1]).streams[wire.node(wire.pool.asked[-1]).latest].data == sent
        client.lose()
    else:
        assert client.streams[stream_id].status == "14"
        assert len(wire.pool.asked) == 1
    wire.close()


def test_a_call_that_was_redirected_too_late_goes_to_the_right_node_when_it_is_made_again() -> None:
    wire = Wire("a", "b", node_settings={Setting.INITIAL_WINDOW_SIZE: 1 << 24})
    client = wire.client()
    _, node, at_node = opened(wire, client, UPLOAD)
    other = "b" if node.name == "a" else "a"
    node.redirect(at_node, other)
    wire.settle()
    opened(wire, client, UPLOAD)
    assert wire.pool.asked == [node.name, other]
    client.lose()
    wire.close()


def test_a_long_message_alone_is_kept_and_a_second_one_is_still_let_in() -> None:
    wire = Wire("a", "b", node_settings={Setting.INITIAL_WINDOW_SIZE: 1 << 24})
    client = wire.client()
    long = message(bytes(4 << 20))
    stream_id, node, at_node = opened(wire, client, long)
    assert node.streams[at_node].data == long
    node.refuse(at_node, "draining")
    wire.settle()
    other = wire.node(wire.pool.asked[-1])
    assert other is not node
    assert other.streams[1].data == long
    client.send(stream_id, long)
    wire.settle()
    assert other.streams[1].data == long * 2
    assert wire.budget.used_bytes == 0
    client.lose()
    wire.close()


@pytest.mark.parametrize("path", [FOREIGN, CONVERSE])
@pytest.mark.parametrize("size_bytes", [70_000, 3_000_000])
@pytest.mark.parametrize("when", ["headers", "trailers alone", "trailers"])
def test_an_answer_with_more_metadata_than_can_be_read_ends_its_own_call_alone(
    path: str, size_bytes: int, when: str
) -> None:
    wire = Wire(limits=Limits(reattach_timeout_s=0, max_continuations=1_000))
    client = wire.client()
    neighbour, node, at_neighbour = opened(wire, client, message(b"x"))
    stream_id = client.open(path)
    client.send(stream_id, message(b"x"))
    wire.settle()
    at_node = node.latest
    if when == "trailers":
        node.accept(at_node)
        wire.settle()
    head = b"" if when == "trailers" else block(HEAD)
    node.connection.receive(
        frames.headers(at_node, head + trailers_of(size_bytes), end_stream=when != "headers"), wire.clock.time()
    )
    while node.connection.behind:
        node.connection.receive(b"", wire.clock.time())
    wire.settle()
    assert (client.streams[stream_id].status, wire.pool.asked) == ("8", ["a", "a"])
    assert wire.context.stats.errors == {"ANSWER_METADATA_TOO_LARGE": 1}
    assert node.connection.ended is None
    node.accept(at_neighbour)
    node.send(at_neighbour, marked(1, 1))
    node.finish(at_neighbour)
    wire.settle()
    assert client.streams[neighbour].status == "0"
    wire.close()


def test_what_is_too_long_for_a_stream_that_is_over_is_let_pass() -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = opened(wire, client, message(b"x"))
    client.reset(stream_id)
    client.exchange()
    node.connection.receive(frames.headers(at_node, trailers_of(70_000), end_stream=True), wire.clock.time())
    assert node.connection.broken_for == ""
    node.connection.receive(frames.headers(at_node + 2, trailers_of(70_000), end_stream=True), wire.clock.time())
    assert node.connection.broken_for == "protocol_error"
    wire.close()
