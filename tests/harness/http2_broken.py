"""Broken peers: random bytes, frames and sessions that nearly make sense, cut into reads anywhere.

The other side is honest and played by h2, so what the data plane makes of garbage is judged there.
"""

from __future__ import annotations

from itertools import cycle, islice
from typing import cast

from hypothesis import strategies as st

from agentring.http2 import frames
from agentring.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTING,
    SETTINGS,
    SETTINGS_ACK,
    TWO_WORDS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    WORD,
    Setting,
)
from agentring.http2.hpack import block
from harness.http2 import FakePool, Wire, cut
from harness.http2_checks import Order, check, nothing_unexpected
from harness.http2_frames import ACCEPTED, CONVERSE, FOREIGN, GET_SESSION, frame, marked, message, request
from harness.http2_peers import ClientPeer, NodePeer
from harness.http2_raw import RawClient, RawNode
from router.relay.call_events import CallEvents
from router.relay.node_connection import NodeConnection
from router.routing.owner import Target

_MAX_READS = 200
_LONGEST_BYTES = 9 << 20  # a broken peer may announce any message that is taken at all
NUMBERS = st.sampled_from([0, 1, 9, 100, 16_384, 65_535, 65_536, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
IDS = st.sampled_from([1, 1, 1, 3, 3, 5, 7, 9, 0, 2, (1 << 31) - 1, 1 | 1 << 31])
OPEN = b"\x0a\x07\x0a\x01s\x12\x02\x61\x62"

_BLOCKS = [
    request(CONVERSE),
    request(CONVERSE, session=None),
    request(FOREIGN, ("grpc-timeout", "1S"), ("x-agentring-redirect", "a")),
    request(GET_SESSION, ("x-session-id", "t"), ("te", "trailers")),
    request("/grpc.health.v1.Health/Check", session=None),
    block(((":method", "GET"), (":scheme", "http"), (":path", "/"))),
    block(((":method", "POST"), (":scheme", "http"), (":path", "/"), ("content-length", "5"))),
    block(ACCEPTED),
    block(((":status", "200"), ("content-type", "application/grpc"))),
    block((("grpc-status", "0"),)),
    block((("grpc-status", "14"),)),
    block(((":status", "200"), ("grpc-status", "14"), ("x-agentring-refused", "overloaded"))),
    block(((":status", "200"), ("grpc-status", "10"), ("x-agentring-redirect", "b b:1"))),
    block(((":status", "103"),)),
    b"\x82\x86\x84",
    b"\x20",
    b"",
]
BLOCKS = st.sampled_from(_BLOCKS) | st.builds(
    lambda found, index, value: found[: index % (len(found) + 1)] + value + found[index % (len(found) + 1) + 1 :],
    st.sampled_from(_BLOCKS),
    st.integers(0, 400),
    st.binary(max_size=3),
)
BODIES = st.sampled_from(
    [
        b"",
        message(b""),
        message(OPEN),
        marked(1, 1, b"x"),
        marked(2, 0, bytes(5_000)) + marked(3, 9),
        message(bytes(16_379)),
        b"\0\0\x40",
        b"\0\0\0\x40\0" + bytes(9_000),
        b"\0\xff\xff\xff\xff",
        b"\1\0\0\0\1x",
        bytes(16_384),
    ]
) | st.binary(max_size=40)


def _typed(kind: int) -> st.SearchStrategy[bytes]:
    if kind == DATA:
        return BODIES
    if kind in (HEADERS, CONTINUATION):
        return BLOCKS
    if kind == SETTINGS:
        names = st.integers(0, 7)
        return st.lists(st.builds(SETTING.pack, names, NUMBERS), max_size=3).map(b"".join)
    if kind in (RST_STREAM, WINDOW_UPDATE):
        return st.builds(WORD.pack, NUMBERS)
    if kind == GOAWAY:
        return st.builds(TWO_WORDS.pack, NUMBERS, st.integers(0, 14))
    lengths = {PRIORITY: 5, PING: 8}
    return st.binary(min_size=lengths.get(kind, 0), max_size=lengths.get(kind, 20))


def _frames_of(kind: int) -> st.SearchStrategy[bytes]:
    likely = {
        DATA: [0, 0, 0, END_STREAM, PADDED],
        HEADERS: [END_HEADERS, END_HEADERS, END_HEADERS | END_STREAM, 0, END_HEADERS | PADDED, WITH_PRIORITY],
        CONTINUATION: [END_HEADERS, 0],
        SETTINGS: [0, ACK],
        PING: [0, ACK],
    }.get(kind, [0])
    flags = st.sampled_from(likely) | st.sampled_from(likely) | st.integers(0, 255)
    ids = st.sampled_from([0, 0, 0, 1]) if kind in (SETTINGS, PING, GOAWAY) else IDS
    payloads = _typed(kind) | _typed(kind) | _typed(kind) | st.binary(max_size=12)
    return st.builds(frame, st.just(kind), flags, ids, payloads)


KINDS = [DATA, DATA, DATA, HEADERS, HEADERS, HEADERS, WINDOW_UPDATE, RST_STREAM, SETTINGS, PING, CONTINUATION]
FRAMES = st.sampled_from([*KINDS, PRIORITY, GOAWAY, 5, 0xAA]).flatmap(_frames_of)
CALL = st.builds(
    lambda stream_id, head, bodies, end: (
        frames.headers(stream_id, head, end_stream=end and not bodies)
        + b"".join(frames.data(stream_id, each, end_stream=end and each is bodies[-1]) for each in bodies)
    ),
    st.sampled_from([1, 3, 5, 7, 9]),
    BLOCKS,
    st.lists(BODIES, max_size=3),
    st.booleans(),
)
_PIECES = FRAMES | CALL
SESSION = (st.lists(_PIECES, max_size=8) | st.lists(_PIECES, min_size=8, max_size=30)).map(b"".join)
MUTATIONS = st.lists(st.tuples(st.integers(0, 1 << 16), st.sampled_from(["flip", "cut", "drop", "double"])), max_size=3)
SIZES = st.lists(st.integers(1, 300), max_size=6) | st.just([1])
"""Of reads, again and again; not for ever, or every example would take as long as the longest."""
BEGINNINGS = st.sampled_from(
    [PREFACE + frames.settings({}), PREFACE + frames.settings({}) + SETTINGS_ACK] * 4 + [b"", PREFACE]
)
WINDOWS = st.sampled_from([0, 1, 1_000, 65_535, (1 << 31) - 1])
POLICY = st.lists(st.integers(0, 9), min_size=1, max_size=6)
BUDGETS = st.sampled_from([1 << 30, 1 << 30, 20_000, 5_000, 64])


PATHS = st.lists(st.sampled_from([CONVERSE, FOREIGN, GET_SESSION]), min_size=1, max_size=4)
CLIENTS = st.tuples(BEGINNINGS, SESSION, MUTATIONS, SIZES, POLICY, BUDGETS)
NODES = st.tuples(WINDOWS, SESSION, MUTATIONS, SIZES, BUDGETS, PATHS)


def mutated(data: bytes, mutations: list[tuple[int, str]]) -> bytes:
    """The bytes with some of them changed."""
    for place, how in mutations:
        at = place % (len(data) + 1)
        if how == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << place % 8]) + data[at + 1 :]
        elif how == "cut":
            data = data[:at]
        elif how == "drop":
            data = data[:at] + data[at + 1 + place % 9 :]
        elif how == "double":
            data = data[:at] + data[at : at + 40] + data[at:]
    return data


def run_broken_client(example: tuple[bytes, bytes, list[tuple[int, str]], list[int], list[int], int]) -> None:
    """A broken client before honest nodes, beside an honest client whose call must not suffer."""
    begin, session, mutations, sizes, policy, budget = example
    with nothing_unexpected():
        wire = Wire("a", "b", max_buffered_bytes=budget)
        neighbour = wire.client()
        beside = neighbour.open(session="neighbour")
        wire.settle()
        client, order = wire.raw_client(b""), Order()
        steps = 0
        for piece in cut(begin + mutated(session, mutations), islice(cycle(sizes), _MAX_READS)):
            order.take(client.send(piece))
            wire.settle()
            for node in [peer for peers in wire.nodes.values() for peer in peers]:
                for stream_id in list(node.streams):
                    _answer(node, stream_id, policy[steps % len(policy)])
                    steps += 1
            wire.settle()
            order.take(client.read())
            _check(wire, client)
        wire.clock.advance(11.0)
        order.take(client.read())
        client.connection.socket_lost()
        wire.settle()
        _finish_neighbour(wire, neighbour, beside)
        wire.close()


def _check(wire: Wire, client: RawClient) -> None:
    check([client.connection, *(peer.base for peer in wire.peers)], wire.budget, _LONGEST_BYTES)


def _answer(node: NodePeer, stream_id: int, choice: int) -> None:
    heard = node.streams[stream_id]
    if (
        heard.fields.get("x-session-id") == "neighbour"
        or stream_id not in node.connection.streams
        or not node.may_send(stream_id)
    ):
        return
    taken = stream_id in node.accepted
    match choice:
        case 0 if not taken:
            node.accept(stream_id)
        case 1 if taken:
            node.send(stream_id, marked(5, 1, bytes(200)))
        case 2 if taken:
            node.send(stream_id, marked(6, 2, bytes(70_000)))
        case 3 if taken:
            node.finish(stream_id)
        case 4 if not taken:
            node.refuse(stream_id, "overloaded")
        case 5:
            node.reset(stream_id, frames.Code.REFUSED_STREAM)


def _finish_neighbour(wire: Wire, neighbour: ClientPeer, stream_id: int) -> None:
    neighbour.send(stream_id, message(OPEN), end=True)
    wire.settle()
    for node in [peer for peers in wire.nodes.values() for peer in peers]:
        for at_node, heard in node.streams.items():
            if heard.fields.get("x-session-id") == "neighbour":
                assert heard.data == message(OPEN)
                node.accept(at_node)
                node.send(at_node, marked(1, 1, b"for the neighbour"))
                node.finish(at_node)
    wire.settle()
    heard = neighbour.streams[stream_id]
    assert (heard.data, heard.status) == (marked(1, 1, b"for the neighbour"), "0")


class _BrokenNodes(FakePool):
    """Connections to one node that a test speaks for."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self.node = wire.raw_node()
        self.node.read()

    def connect(self, target: Target, call: CallEvents) -> NodeConnection | None:
        self.asked.append(target.node_id)
        if self.node.connection.has_room and len(self.asked) < 50:
            return self.node.connection
        self.waiting.append((target.node_id, call))
        return None


def run_broken_node(example: tuple[int, bytes, list[tuple[int, str]], list[int], int, list[str]]) -> None:
    """A broken node behind honest clients."""
    window, session, mutations, sizes, budget, paths = example
    with nothing_unexpected():
        wire = Wire("a", "b", max_buffered_bytes=budget)
        pool = _BrokenNodes(wire)
        wire.context.nodes = pool
        client = wire.client({Setting.INITIAL_WINDOW_SIZE: window})
        client.trusts = True
        for path in paths:
            stream_id = client.open(path)
            client.send(stream_id, message(OPEN))
            wire.settle()
        node: RawNode = pool.node
        for piece in cut(mutated(session, mutations), islice(cycle(sizes), _MAX_READS)):
            node.send(piece)
            wire.settle()
            node.read()
            check([node.connection, *(peer.base for peer in wire.peers)], wire.budget, _LONGEST_BYTES)
        node.connection.socket_lost()
        for _, call in pool.waiting:
            call.not_connected(was_reached=False)
        pool.waiting.clear()
        wire.settle()
        wire.clock.advance(11.0)
        client.drop_backlogs()
        wire.settle()
        wire.close()
        assert not cast("dict[int, object]", node.connection.streams)
