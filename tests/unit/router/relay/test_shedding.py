"""When the process holds too much: the longest-stalled call ends, alone, and is told so where it can be."""

import pytest
from structlog.testing import capture_logs

from agentring.http2.frames import Code, Setting
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, marked, message
from harness.http2_peers import ClientPeer

NO_WINDOW: dict[int, int] = {Setting.INITIAL_WINDOW_SIZE: 0}
SENTENCE = "the router holds too much that is not read"


def assert_shed(wire: Wire, client: ClientPeer, stream_id: int) -> None:
    """The call has ended with its reason; its connection and the budget are as if it had never been."""
    heard = client.streams[stream_id]
    assert (heard.status, heard.sentence) == ("8", SENTENCE)
    assert (client.goaway, client.connection.broken_for) == (None, "")
    assert wire.budget.used_bytes == 0
    assert wire.budget.shed_count >= 1
    other = client.open(session="other")
    wire.settle()
    assert not client.streams[other].ended
    client.lose()
    wire.settle()
    wire.close()


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
@pytest.mark.parametrize("where", ["kept", "queue", "part", "kept and queue", "kept and part"])
def test_a_call_that_holds_too_much_ends_alone(path: str, where: str) -> None:
    wire = Wire(max_buffered_bytes=5_000, node_settings=NO_WINDOW if "queue" in where else {})
    client = wire.client()
    with capture_logs() as logs:
        stream_id = client.open(path)
        if where == "kept":
            wire.pool.held.add("a")
        if where == "queue":
            client.send(stream_id, message(bytes(2_000)) * 3)
        elif where == "part":
            client.send(stream_id, message(bytes(10_000))[:8_000])
        elif where == "kept and part":
            client.send(stream_id, message(bytes(4_500)) + message(bytes(10_000))[:8_000])
        else:
            client.send(stream_id, message(bytes(6_000)))
        wire.settle()
    assert logs == []
    assert_shed(wire, client, stream_id)


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
def test_a_call_whose_messages_are_too_much_for_the_next_node_ends_alone(path: str) -> None:
    wire = Wire("a", "b", max_buffered_bytes=8_000)
    client = wire.client()
    stream_id = client.open(path)
    client.send(stream_id, message(bytes(5_000)))
    wire.settle()
    wire.node_settings = NO_WINDOW
    wire.node(wire.pool.asked[0]).redirect(1, "z")
    wire.settle()
    assert_shed(wire, client, stream_id)


@pytest.mark.parametrize(
    "responses",
    [
        [marked(1, 1, bytes(6_000))],
        [marked(1, 1, bytes(3_000)), marked(2, 1, bytes(3_000)), marked(3, 1, b"x")],
        [marked(1, 1, b"x") + marked(2, 1, bytes(10_000))[:8_000]],
    ],
)
def test_a_client_that_does_not_read_is_told_in_trailers_where_nothing_is_cut(responses: list[bytes]) -> None:
    wire = Wire(max_buffered_bytes=5_000)
    client = wire.client(NO_WINDOW)
    stream_id = client.open()
    client.send(stream_id, message(b""))
    wire.settle()
    node = wire.node()
    node.accept(1)
    with capture_logs() as logs:
        node.send(1, b"".join(responses))
        wire.settle()
    assert logs == []
    assert client.streams[stream_id].data == b""
    assert_shed(wire, client, stream_id)


@pytest.mark.parametrize("finished", [False, True])
def test_a_client_that_has_read_half_a_message_is_reset(finished: bool) -> None:
    wire = Wire(max_buffered_bytes=5_000)
    client = wire.client({Setting.INITIAL_WINDOW_SIZE: 100})
    client.reads = False
    stream_id = client.open()
    client.send(stream_id, message(b""))
    wire.settle()
    node = wire.node()
    node.accept(1)
    node.send(1, marked(1, 1, bytes(4_000)))
    if finished:
        node.finish(1)
    wire.settle()
    assert wire.budget.used_bytes == 3_923 + len(marked(1, 1)) - 23
    other = client.open(session="other")
    client.send(other, message(bytes(5_000)))
    wire.settle()
    heard = client.streams[stream_id]
    assert (len(heard.data), heard.ended, heard.reset) == (100, False, Code.ENHANCE_YOUR_CALM)
    client.lose()
    wire.settle()
    wire.close()


def test_the_call_that_has_stalled_longest_goes_first() -> None:
    wire = Wire(max_buffered_bytes=10_000)
    client = wire.client(NO_WINDOW)
    for index in range(3):
        client.open(session=f"s{index}")
        client.send(1 + 2 * index, message(b""))
        wire.settle()
        node = wire.node()
        node.accept(node.latest)
        node.send(node.latest, marked(1, 1, bytes(4_000)))
        wire.settle()
    assert [client.streams[stream_id].status for stream_id in (1, 3, 5)] == ["8", None, None]
    client.lose()
    wire.settle()
    wire.close()


@pytest.mark.parametrize("way_out", ["read", "lost", "reset"])
def test_what_comes_of_a_call_that_only_waits_for_its_client_to_read_is_not_held(way_out: str) -> None:
    wire = Wire()
    client = wire.client(NO_WINDOW)
    client.reads = False
    stream_id = client.open()
    client.send(stream_id, message(b""))
    wire.settle()
    node = wire.node()
    node.accept(1)
    node.send(1, marked(1, 1, b"unread"))
    node.finish(1)
    wire.settle()
    assert not wire.context.registry.calls
    client.send(stream_id, message(b"half a message")[:9])
    wire.settle()
    assert wire.budget.used_bytes == len(marked(1, 1, b"unread"))
    if way_out == "read":
        client.h2.increment_flow_control_window(1_000, stream_id)
        wire.settle()
        assert client.streams[stream_id].status == "0"
    elif way_out == "reset":
        client.reset(stream_id)
        wire.settle()
    else:
        client.lose()
    assert (wire.budget.used_bytes, len(wire.budget)) == (0, 0)
    wire.close()
