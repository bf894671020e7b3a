"""Many small messages leave in few frames, in order and within the windows: some peers end a connection for more."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.http2 import frames
from agentring.http2.frames import MAX_FRAME_BYTES, Setting
from agentring.http2.hpack import block
from harness.http2 import Wire
from harness.http2_frames import ACCEPTED, CONVERSE, FOREIGN, Frame, data_of, marked, message, opening, parse
from harness.http2_peers import NodePeer
from harness.http2_raw import RawClient, drain

WIDE = 1 << 20


class Streams:
    """A client's calls that a node has taken, and what each was told so far."""

    def __init__(self, count: int, path: str, window: int) -> None:
        self.wire = Wire()
        self.client: RawClient = self.wire.raw_client(opening({Setting.INITIAL_WINDOW_SIZE: window}))
        self.client.send(frames.window_update(0, WIDE))
        self.ids = range(1, 2 * count, 2)
        self.sent = dict.fromkeys(self.ids, b"")
        self.found: list[Frame] = []
        for stream_id in self.ids:
            self.client.open(stream_id, path)
            self.client.send(frames.data(stream_id, message(b"x")))
        self.wire.settle()
        self.node: NodePeer = self.wire.node()
        self.node_says(b"".join(frames.headers(each, block(ACCEPTED), end_stream=False) for each in self.ids))
        self.client.read()

    def node_says(self, data: bytes) -> None:
        """One read of the node's connection."""
        self.node.connection.receive(data, self.wire.clock.time())
        while self.node.connection.behind:
            self.node.connection.receive(b"", self.wire.clock.time())

    def tell(self, stream_id: int, answer: bytes) -> bytes:
        """A frame of the node's, which is to be told."""
        self.sent[stream_id] += answer
        return frames.data(stream_id, answer)

    def read(self) -> Counter[int]:
        """What the client was sent since: how many frames of DATA on each stream."""
        found = self.client.read()
        self.found += found
        return Counter(each.stream_id for each in found if each.kind == frames.DATA)

    def grant(self, stream_id: int, increment: int) -> None:
        self.found += self.client.send(frames.window_update(stream_id, increment))

    def check(self) -> None:
        """Each stream was told all, in order, in frames that are not too long."""
        assert {each: data_of(self.found, each) for each in self.ids} == self.sent
        assert all(len(each.payload) <= MAX_FRAME_BYTES for each in self.found)

    def close(self) -> None:
        self.client.connection.socket_lost()
        self.wire.close()


@pytest.mark.parametrize("path", [FOREIGN, CONVERSE])
def test_messages_of_many_streams_that_come_in_turn_in_one_read(path: str) -> None:
    streams = Streams(50, path, WIDE)
    turns = [(turn, each) for turn in range(1, 21) for each in streams.ids]
    streams.node_says(b"".join(streams.tell(each, marked(turn, 1, b"%d %d" % (each, turn))) for turn, each in turns))
    assert streams.read() == dict.fromkeys(streams.ids, 2)
    streams.node_says(streams.tell(1, marked(21, 1)))
    assert streams.read() == {1: 1}
    streams.check()
    streams.close()


@pytest.mark.parametrize("path", [FOREIGN, CONVERSE])
def test_messages_that_a_window_has_held_back(path: str) -> None:
    streams = Streams(1, path, 0)
    for turn in range(1, 1_001):
        streams.node_says(streams.tell(1, marked(turn, 1, b"word")))
    streams.read()
    streams.grant(1, 100)
    streams.grant(1, WIDE)
    kinds = [each for each in streams.found if each.kind == frames.DATA]
    assert len(kinds) <= len(streams.sent[1]) // MAX_FRAME_BYTES + 4
    streams.check()
    streams.close()


def test_a_clients_messages_to_its_node() -> None:
    wire = Wire(node_settings={Setting.INITIAL_WINDOW_SIZE: WIDE})
    client = wire.raw_client()
    client.open(1, FOREIGN)
    wire.settle()
    connection = wire.node().connection
    client.send(b"".join(frames.data(1, message(b"%d" % turn)) for turn in range(200)))
    (sent,) = parse(b"".join(connection.out))
    assert sent.payload == b"".join(message(b"%d" % turn) for turn in range(200))
    client.connection.socket_lost()
    wire.close()


def test_what_is_put_after_what_had_waited_does_not_overtake_it() -> None:
    streams = Streams(1, FOREIGN, 20)
    streams.node_says(streams.tell(1, message(b"first")) + streams.tell(1, message(b"second, which waits")))
    connection = streams.client.connection
    connection.receive(frames.window_update(1, WIDE), streams.wire.clock.time())
    streams.node_says(streams.tell(1, message(b"third")) + streams.tell(1, message(b"fourth")))
    streams.read()
    streams.check()
    streams.close()


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.sampled_from([1, 3, 5]), st.integers(0, 3_000)),
        st.tuples(st.just("grant"), st.sampled_from([0, 1, 3, 5]), st.integers(1, 5_000)),
        st.tuples(st.just("read"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(steps=_STEPS, window=st.integers(0, 9_000), path=st.sampled_from([FOREIGN, CONVERSE]))
def test_whatever_comes_keeps_its_order_and_its_windows(
    steps: list[tuple[str, int, int]], window: int, path: str
) -> None:
    streams = Streams(3, path, window)
    granted = dict.fromkeys(streams.ids, window)
    for turn, (what, stream_id, number) in enumerate(steps, 1):
        match what:
            case "tell":
                if len(streams.sent[stream_id]) < 50_000:
                    streams.node_says(streams.tell(stream_id, marked(turn, 0, bytes(number))))
            case "grant":
                streams.client.connection.receive(frames.window_update(stream_id, number), streams.wire.clock.time())
                if stream_id:
                    granted[stream_id] += number
            case _:
                streams.read()
        for each in streams.ids:
            sent = data_of(streams.found, each)
            assert len(sent) <= granted[each]
            assert streams.sent[each].startswith(sent)
    for each in streams.ids:
        streams.grant(each, WIDE)
    streams.read()
    streams.check()
    streams.close()


TONIC = ("user-agent", "tonic/0.14.9")
MOST = 16


def crowding(*agent: tuple[str, str]) -> tuple[Wire, RawClient, NodePeer]:
    """A client's call, of which a node tells one small message a read."""
    wire = Wire()
    client: RawClient = wire.raw_client(opening({Setting.INITIAL_WINDOW_SIZE: WIDE}))
    client.open(1, FOREIGN, *agent)
    client.send(frames.data(1, message(b"x")))
    wire.settle()
    node: NodePeer = wire.node()
    node.connection.receive(frames.headers(1, block(ACCEPTED), end_stream=False), wire.clock.time())
    client.read()
    return wire, client, node


def tell(wire: Wire, client: RawClient, node: NodePeer, count: int) -> list[Frame]:
    """What the client is sent of so many reads of the node's connection."""
    found = []
    for _ in range(count):
        node.connection.receive(frames.data(1, message(b"y")), wire.clock.time())
        found += client.read()
    return found


def kinds(found: list[Frame]) -> Counter[int]:
    return Counter(each.kind for each in found)


def test_a_client_that_counts_small_frames_is_asked_whether_it_has_read_them() -> None:
    wire, client, node = crowding(TONIC)
    assert kinds(tell(wire, client, node, MOST)) == {frames.DATA: MOST, frames.PING: 1}
    assert tell(wire, client, node, 30) == []
    (held,) = client.send(frames.ping(b"crowded?", ack=True))
    assert (held.kind, held.payload) == (frames.DATA, message(b"y") * 30)
    # What was held counts, too.
    assert kinds(tell(wire, client, node, MOST)) == {frames.DATA: MOST - 1, frames.PING: 1}
    client.connection.socket_lost()
    wire.close()


@pytest.mark.parametrize(("window", "most"), [(0, 4), (4 << 20, 259)])
def test_a_client_that_answers_is_given_time_to_read(window: int, most: int) -> None:
    wire, client, node = crowding(TONIC)
    if window:
        client.send(frames.window_update(0, window))
    connection = client.connection
    for _ in range(most - 1):
        assert kinds(tell(wire, client, node, MOST)) == {frames.DATA: MOST, frames.PING: 1}
        assert client.send(frames.ping(b"crowded?", ack=True)) == []
        assert not connection.is_crowded
    tell(wire, client, node, MOST)
    client.send(frames.ping(b"crowded?", ack=True))
    assert connection.is_crowded
    assert connection.rest_s == pytest.approx(0.1)
    assert tell(wire, client, node, 30) == []
    connection.crowd_read()
    assert [each.payload for each in client.read()] == [message(b"y") * 30]
    client.connection.socket_lost()
    wire.close()


def test_a_client_that_has_had_time_is_not_given_more() -> None:
    wire, client, node = crowding(TONIC)
    for _ in range(40):
        assert kinds(tell(wire, client, node, MOST)) == {frames.DATA: MOST, frames.PING: 1}
        wire.clock.advance(0.03)
        client.send(frames.ping(b"crowded?", ack=True))
        assert not client.connection.is_crowded
    client.connection.socket_lost()
    wire.close()


def test_a_client_that_does_not_answer_is_not_waited_for_long() -> None:
    wire, client, node = crowding(TONIC)
    tell(wire, client, node, MOST)
    assert tell(wire, client, node, 3) == []
    client.connection.tick(wire.clock.time() + 0.5)
    assert client.read() == []
    client.connection.tick(wire.clock.time() + 1.5)
    assert kinds(client.read()) == {frames.DATA: 1}
    client.connection.socket_lost()
    wire.close()


def test_the_end_of_a_call_waits_behind_what_is_held() -> None:
    wire, client, node = crowding(TONIC)
    tell(wire, client, node, MOST + 2)
    node.connection.receive(frames.headers(1, block((("grpc-status", "0"),)), end_stream=True), wire.clock.time())
    assert client.read() == []
    held, ended, *_ = client.send(frames.ping(b"crowded?", ack=True))
    assert (held.payload, ended.kind) == (message(b"y") * 2, frames.HEADERS)
    client.connection.socket_lost()
    wire.close()


@pytest.mark.parametrize("agent", [(), (("user-agent", "grpc-go/1.83.2"),)])
def test_other_clients_are_not_asked(agent: tuple[tuple[str, str], ...]) -> None:
    wire, client, node = crowding(*agent)
    assert kinds(tell(wire, client, node, 200)) == {frames.DATA: 200}
    client.connection.socket_lost()
    wire.close()


@pytest.mark.parametrize(("has_left", "expected"), [(False, [(6, 1)]), (True, [(6, 0), (0, 1)])])
def test_the_last_frame_ends_the_stream_where_it_has_not_left(has_left: bool, expected: list[tuple[int, int]]) -> None:
    wire, client, node = crowding()
    drain(node.connection)
    client.send(frames.data(1, message(b"z")))
    sent = drain(node.connection) if has_left else b""
    client.send(frames.data(1, b"", end_stream=True))
    sent += drain(node.connection)
    assert [(len(each.payload), each.flags) for each in parse(sent)] == expected
    client.connection.socket_lost()
    wire.close()
