"""The nodes that a call is sent to: redirects, refusals, connections that break, and messages that are sent again."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import Code, Setting
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, data_of, marked, message
from harness.http2_peers import ClientPeer, NodePeer


def at_first_node(wire: Wire, *said: bytes) -> tuple[ClientPeer, int, NodePeer]:
    """A call that has come to the first node, which has not answered."""
    client = wire.client()
    stream_id = client.open()
    for each in said:
        client.send(stream_id, each)
    wire.settle()
    return client, stream_id, wire.node(wire.pool.asked[-1])


def finish(wire: Wire, client: ClientPeer, stream_id: int, node: NodePeer, at_node: int) -> None:
    """The call goes on at this node to its end."""
    node.accept(at_node)
    node.send(at_node, marked(1, 1, b"here"))
    node.finish(at_node)
    wire.settle()
    heard = client.streams[stream_id]
    assert (heard.data, heard.status, heard.fields["x-agentring-node"]) == (marked(1, 1, b"here"), "0", node.name)
    wire.close()


def test_a_redirect_is_followed_with_all_that_was_said_and_hidden_from_the_client() -> None:
    wire = Wire("a", "b")
    said = [message(b"one"), message(bytes(40_000)), message(b"three")[:4]]
    client, stream_id, first = at_first_node(wire, *said)
    assert first.streams[1].data == b"".join(said)
    first.redirect(1, "z")
    wire.settle()
    assert not client.streams[stream_id].headers
    client.send(stream_id, message(b"three")[4:], end=True)
    wire.settle()
    heard = wire.node("z").streams[1]
    assert (heard.data, heard.ended) == (message(b"one") + message(bytes(40_000)) + message(b"three"), True)
    finish(wire, client, stream_id, wire.node("z"), 1)
    assert wire.pool.asked == [first.name, "z"]


def test_every_try_has_the_same_stream_id_and_no_two_calls_have() -> None:
    wire = Wire("a", "b")
    client, _, first = at_first_node(wire)
    first.redirect(1, "z")
    client.open()
    wire.settle()
    name = "x-agentring-stream-id"
    assert first.streams[1].fields[name] == wire.node("z").streams[1].fields[name]
    assert (
        len({heard.fields[name] for peers in wire.nodes.values() for p in peers for heard in p.streams.values()}) == 2
    )
    client.lose()
    wire.close()


def test_the_third_redirect_means_that_the_session_is_moving() -> None:
    wire = Wire("a", "b")
    client, stream_id, first = at_first_node(wire, message(b""))
    for node, to in ((first, "y"), ("y", "z"), ("z", "y")):
        (node if isinstance(node, NodePeer) else wire.node(node)).redirect(1, to)
        wire.settle()
    assert client.streams[stream_id].sentence == "the session or task is moving to another node"
    assert "x-agentring-redirect" not in client.streams[stream_id].fields
    wire.close()


@pytest.mark.parametrize(("why", "status"), [("overloaded", "8"), ("draining", "14"), ("agent=echo", "5")])
def test_a_refusal_leads_to_the_next_node_and_is_told_when_there_is_none(why: str, status: str) -> None:
    wire = Wire("a", "b")
    client, stream_id, first = at_first_node(wire, message(b""))
    first.refuse(1, why)
    wire.settle()
    assert len(wire.pool.asked) == 2
    wire.node(wire.pool.asked[1]).refuse(1, why)
    wire.settle()
    assert client.streams[stream_id].status == status
    assert "x-agentring-refused" not in client.streams[stream_id].fields
    wire.close()


def test_a_refusal_is_not_told_before_the_first_message_came() -> None:
    wire = Wire("a")
    client, stream_id, node = at_first_node(wire)
    node.refuse(1, "overloaded")
    wire.settle()
    assert not client.streams[stream_id].ended
    client.send(stream_id, message(b"late"))
    wire.settle()
    assert client.streams[stream_id].status == "8"
    wire.close()


def test_a_node_that_has_refused_is_sent_nothing_more() -> None:
    wire = Wire("a")
    client, stream_id, node = at_first_node(wire)
    node.refuse(1, "overloaded")
    wire.settle()
    node.h2.reset_stream(1, Code.NO_ERROR) if 1 in node.connection.streams else None
    wire.settle()
    client.send(stream_id, message(b"late"))
    client.exchange()
    assert b"late" not in b"".join(node.connection.out)
    wire.settle()
    wire.close()


def test_redirects_and_refusals_of_a_node_that_has_taken_the_call_are_its_answer() -> None:
    wire = Wire("a", "b")
    client, stream_id, node = at_first_node(wire, message(b""))
    node.accept(1)
    node.finish(1, "10", ("x-agentring-redirect", "z z:1"))
    wire.settle()
    assert client.streams[stream_id].status == "10"
    assert "x-agentring-redirect" not in client.streams[stream_id].fields
    assert len(wire.pool.asked) == 1
    wire.close()


@pytest.mark.parametrize("how", ["refused", "goaway"])
def test_a_connection_that_had_grown_old_is_tried_again_once_at_the_same_node(how: str) -> None:
    wire = Wire("a", "b")
    client, stream_id, node = at_first_node(wire, message(b"open"))
    for _ in range(2):
        node = wire.node(node.name)
        if how == "refused":
            node.reset(node.latest, Code.REFUSED_STREAM)
        else:
            node.connection.receive(frames.goaway(0, Code.NO_ERROR), wire.clock.time())
        wire.settle()
    first = node.name
    other = "b" if first == "a" else "a"
    assert wire.pool.asked == [first, first, other]
    assert wire.node(other).streams[1].data == message(b"open")
    finish(wire, client, stream_id, wire.node(other), 1)


def test_a_node_that_cannot_be_reached_is_passed_by() -> None:
    wire = Wire("a", "b")
    first, other = wire.order()
    wire.pool.held.add(first)
    client = wire.client()
    stream_id = client.open()
    client.send(stream_id, message(b"open"))
    wire.settle()
    wire.pool.release(first, connected=False)
    wire.settle()
    assert wire.pool.asked == [first, other]
    finish(wire, client, stream_id, wire.node(other), 1)


def test_when_no_node_is_left_the_client_is_told() -> None:
    wire = Wire("a")
    wire.pool.held.add("a")
    client = wire.client()
    stream_id = client.open()
    client.send(stream_id, message(b""))
    wire.settle()
    wire.pool.release("a", connected=False)
    wire.settle()
    assert client.streams[stream_id].sentence == "the connection to the session's node was lost"
    wire.close()


def test_messages_wait_for_a_connection_that_is_being_made() -> None:
    wire = Wire("a")
    wire.pool.held.add("a")
    client = wire.client()
    stream_id = client.open()
    client.send(stream_id, message(b"one") + message(b"two"), end=True)
    wire.settle()
    wire.pool.release("a", connected=True)
    wire.settle()
    heard = wire.node().streams[1]
    assert (heard.data, heard.ended) == (message(b"one") + message(b"two"), True)
    finish(wire, client, stream_id, wire.node(), 1)


@pytest.mark.parametrize("what", ["cancelled", "deadline"])
def test_a_call_that_has_ended_meanwhile_is_not_sent(what: str) -> None:
    wire = Wire("a")
    wire.pool.held.add("a")
    client = wire.client()
    stream_id = client.open(CONVERSE, ("grpc-timeout", "1S"))
    wire.settle()
    if what == "cancelled":
        client.reset(stream_id)
    else:
        wire.clock.advance(1.0)
    wire.settle()
    wire.pool.release("a", connected=True)
    wire.settle()
    assert not wire.node().streams
    wire.close()


def test_what_was_acknowledged_is_not_kept() -> None:
    wire = Wire("a")
    client, stream_id, node = at_first_node(wire, message(b"1"), message(b"2"), message(b"3"))
    node.accept(1)
    node.send(1, marked(1, 2))
    wire.settle()
    (call_stream,) = client.connection.streams.values()
    replay = call_stream.replay  # type: ignore[attr-defined]
    assert (replay.messages, replay.acked) == ([message(b"3")], 2)
    node.send(1, marked(2, 99))
    wire.settle()
    assert (replay.messages, replay.acked) == ([], 3)
    client.reset(stream_id)
    wire.settle()
    wire.close()


def test_nothing_is_kept_of_a_call_that_a_node_has_taken_and_that_cannot_be_attached_anew() -> None:
    wire = Wire("a")
    client = wire.client()
    client.open(FOREIGN)
    client.send(1, message(bytes(9_000)))
    wire.settle()
    assert wire.budget.used_bytes == 9_005
    wire.node().accept(1)
    wire.settle()
    assert wire.budget.used_bytes == 0
    client.reset(1)
    wire.settle()
    wire.close()


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
def test_data_before_any_headers_is_no_answer(path: str) -> None:
    """Nothing of it reaches the client, and nobody else is asked: a service may have been at work."""
    wire = Wire("a", "b")
    client = wire.raw_client()
    client.open(1, path)
    client.send(frames.data(1, message(b"")))
    wire.settle()
    node = wire.node(wire.pool.asked[0])
    node.connection.receive(frames.data(1, marked(1, 1, b"boo")), wire.clock.time())
    assert data_of(client.read(), 1) == b""
    assert len(wire.pool.asked) == 1
    assert wire.context.stats.errors == {"MALFORMED_ANSWER": 1}
    client.connection.socket_lost()
    wire.close()


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
def test_data_after_a_refusal_is_no_answer(path: str) -> None:
    wire = Wire("a")
    client = wire.raw_client()
    client.open(1, path)
    wire.settle()
    node = wire.node()
    node.refuse(1, "overloaded")
    wire.settle()
    node.connection.receive(frames.data(1, marked(1, 1, b"boo")), wire.clock.time())
    assert data_of(client.read(), 1) == b""
    client.connection.socket_lost()
    wire.close()


def test_what_waits_for_one_node_goes_to_the_next_in_order() -> None:
    wire = Wire("a", "b", node_settings={Setting.INITIAL_WINDOW_SIZE: 100})
    said = [message(bytes([n]) * 300) for n in range(5)]
    client, stream_id, first = at_first_node(wire, *said)
    first.reads = False
    first.redirect(1, "z")
    wire.settle()
    assert wire.node("z").streams[1].data == b"".join(said)
    finish(wire, client, stream_id, wire.node("z"), 1)
