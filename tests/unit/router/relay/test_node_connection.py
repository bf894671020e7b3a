"""A connection to a node: when it takes calls, and when it takes no more."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import ACK, END_HEADERS, HEADERS, SETTINGS, SETTINGS_ACK, Code, Setting
from agentring.http2.hpack import block
from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_frames import ACCEPTED, FOREIGN, data_of, frame, goaways, marked, message, parse


def test_it_begins_with_the_preface_and_asks_for_no_table_and_no_push() -> None:
    node = Wire().raw_node(b"")
    sent = b"".join(node.connection.out)
    assert sent.startswith(frames.PREFACE)
    first = next(parse(sent))
    assert dict(frames.SETTING.iter_unpack(first.payload)) == {Setting.HEADER_TABLE_SIZE: 0, Setting.ENABLE_PUSH: 0}


@pytest.mark.parametrize("order", [[frames.settings({}), SETTINGS_ACK], [frames.settings({}) + SETTINGS_ACK]])
def test_it_is_ready_once_both_sides_settings_are_agreed(order: list[bytes]) -> None:
    node = Wire().raw_node(b"")
    for each in order:
        assert not node.connection.ready
        node.send(each)
    assert node.connection.ready
    assert node.ready_count == 1
    node.send(frames.settings({}))
    assert node.ready_count == 1


def test_it_is_not_ready_by_an_acknowledgement_alone() -> None:
    node = Wire().raw_node(b"")
    node.send(frame(SETTINGS, ACK))
    assert not node.connection.ready
    node.send(frames.settings({}))
    assert node.connection.ready


def test_no_more_calls_than_the_node_takes_share_a_connection() -> None:
    wire = Wire(node_settings={Setting.MAX_CONCURRENT_STREAMS: 2})
    client = wire.client()
    for _ in range(5):
        client.open()
    wire.settle()
    assert [len(peer.streams) for peer in wire.nodes["a"]] == [2, 2, 1]
    first = wire.nodes["a"][0]
    client.reset(1)
    wire.settle()
    assert first.connection.has_room
    client.open()
    wire.settle()
    assert sorted(first.streams) == [1, 3, 5]
    client.lose()
    wire.settle()
    wire.close()


def test_fewer_streams_than_are_open_take_nothing_away() -> None:
    wire = Wire()
    client = wire.client()
    client.open()
    client.open()
    wire.settle()
    node = wire.node()
    node.h2.update_settings({Setting.MAX_CONCURRENT_STREAMS: 1})
    wire.settle()
    assert (node.connection.has_room, len(node.connection.streams)) == (False, 2)
    client.reset(1)
    client.reset(3)
    wire.settle()
    assert (node.connection.has_room, len(node.connection.streams)) == (True, 0)
    wire.close()


def test_a_goaway_keeps_what_it_includes_and_sends_the_rest_elsewhere() -> None:
    wire = Wire("a")
    client = wire.client()
    for _ in range(3):
        client.send(client.open(), message(b"x"))
        wire.settle()
    old = wire.node()
    old.connection.receive(frames.goaway(frames.MAX_STREAM_ID, Code.NO_ERROR), wire.clock.time())
    assert len(old.connection.streams) == 3
    assert not old.connection.has_room
    old.connection.receive(frames.goaway(3, Code.NO_ERROR), wire.clock.time())
    wire.settle()
    new = wire.node()
    assert new is not old
    assert list(old.connection.streams) == [1, 3]
    assert [heard.data for heard in new.streams.values()] == [message(b"x")]
    for stream_id in (1, 3):
        old.accept(stream_id)
        old.finish(stream_id)
    wire.settle()
    assert [client.streams[stream_id].status for stream_id in (1, 3, 5)] == ["0", "0", None]
    old.connection.tick(wire.clock.time())
    assert old.connection.ended == Code.NO_ERROR
    client.lose()
    wire.close()


def test_a_goaway_whose_calls_shed_each_other_when_they_are_sent_again() -> None:
    """The second of them is shed by what the first is sent again with."""
    wire = Wire("a", max_buffered_bytes=14_000)
    client = wire.client()
    first, second = client.open(), client.open()
    wire.settle()
    for stream_id in (second, first):
        client.send(stream_id, message(bytes(5_000)))
        wire.settle()
    old = wire.node()
    wire.node_settings = {Setting.INITIAL_WINDOW_SIZE: 0}
    old.connection.receive(frames.goaway(0, Code.NO_ERROR), wire.clock.time())
    wire.settle()
    assert old.connection.broken_for == ""
    assert client.streams[second].status == "8"
    assert wire.node().connection.streams
    client.lose()
    wire.close()


def test_a_retired_connection_ends_with_its_last_stream() -> None:
    wire = Wire()
    client = wire.client()
    client.open()
    wire.settle()
    connection = wire.node().connection
    connection.retire()
    assert (connection.has_room, connection.ended) == (False, None)
    client.reset(1)
    wire.settle()
    connection.tick(wire.clock.time())
    assert connection.ended == Code.NO_ERROR


def test_a_retired_connection_without_a_stream_ends_at_once() -> None:
    node = Wire().raw_node()
    node.connection.retire()
    assert node.connection.ended == Code.NO_ERROR


def test_a_silent_node_is_asked_and_then_given_up() -> None:
    wire = Wire("a", "b", limits=Limits(keepalive_s=30.0, keepalive_timeout_s=10.0))
    client = wire.client()
    client.send(client.open(), message(b"x"))
    wire.settle()
    node = wire.node(wire.pool.asked[0])
    wire.clock.advance(30.0)
    node.connection.tick(wire.clock.time())
    assert not node.connection.out
    wire.clock.advance(0.1)
    node.connection.tick(wire.clock.time())
    assert [each.kind for each in parse(b"".join(node.connection.out))] == [frames.PING]
    wire.clock.advance(10.1)
    node.connection.tick(wire.clock.time())
    assert node.connection.broken_for == "keepalive timeout"
    wire.clock.advance(0.1)
    assert len(wire.pool.asked) == 2
    client.lose()
    wire.close()


def test_a_node_that_answers_its_ping_stays() -> None:
    wire = Wire(limits=Limits(keepalive_s=30.0, keepalive_timeout_s=10.0))
    node = wire.add_node("a")
    wire.client().open()
    wire.settle()
    for _ in range(5):
        wire.clock.advance(30.1)
        node.connection.tick(wire.clock.time())
        wire.settle()
    assert node.connection.ended is None


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(HEADERS, END_HEADERS, 1, block(ACCEPTED)), Code.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 2, block(ACCEPTED)), Code.PROTOCOL_ERROR),
        (frame(frames.PUSH_PROMISE, END_HEADERS, 1, bytes(4)), Code.PROTOCOL_ERROR),
        (frame(frames.DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\xbe"), Code.COMPRESSION_ERROR),
    ],
)
def test_faults_end_it(sent: bytes, code: Code) -> None:
    assert [found for found, _ in goaways(Wire().raw_node().send(sent))] == [code]


def test_a_connection_whose_stream_ids_run_out_has_no_room() -> None:
    wire = Wire()
    client = wire.client()
    client.open()
    wire.settle()
    connection = wire.node().connection
    try:
        connection._next_stream_id = frames.MAX_STREAM_ID - 1_000
    except AttributeError:
        pytest.skip("compiled")
    assert not connection.has_room
    client.open()
    wire.settle()
    assert len(wire.nodes["a"]) == 2
    client.lose()
    wire.close()


def test_what_comes_for_a_stream_that_was_given_up_is_let_pass() -> None:
    wire = Wire()
    client = wire.client()
    client.open()
    wire.settle()
    node = wire.node()
    client.reset(1)
    client.exchange()
    late = frames.headers(1, block(ACCEPTED), end_stream=False) + frames.data(1, marked(1, 1)) + frames.rst_stream(1, 0)
    node.connection.receive(late, wire.clock.time())
    assert node.connection.ended is None
    wire.close()


def test_two_calls_of_two_clients_share_a_connection_and_do_not_mix() -> None:
    wire = Wire()
    one, two = wire.client(), wire.raw_client()
    one.open(session="x")
    two.open(1, session="y")
    wire.settle()
    node = wire.node()
    by_session = {heard.fields["x-session-id"]: stream_id for stream_id, heard in node.streams.items()}
    for session, stream_id in by_session.items():
        node.accept(stream_id)
        node.send(stream_id, marked(1, 0, session.encode()))
    wire.settle()
    assert one.streams[1].data == marked(1, 0, b"x")
    assert data_of(two.read(), 1) == marked(1, 0, b"y")
    one.lose()
    two.connection.socket_lost()
    wire.close()


def test_each_call_has_the_head_that_its_node_has_sent_for_it_however_many_others_there_were() -> None:
    wire = Wire()
    client = wire.client()
    heads = [*range(3), *range(600), *range(3)]
    for number in heads:
        stream_id = client.open(FOREIGN, end=True)
        wire.settle()
        node = wire.node()
        node.accept(node.latest, ("x-number", str(number)))
        node.finish(node.latest, "0", ("x-last", str(number % 2)))
        wire.settle()
        heard = client.streams[stream_id]
        assert (heard.fields["x-number"], heard.fields["x-last"]) == (str(number), str(number % 2))
    client.lose()
    wire.close()
