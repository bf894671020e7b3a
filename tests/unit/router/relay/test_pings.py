"""A node is asked whether it is there as often as it takes it, and a dead one is noticed all the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.http2 import frames
from agentring.http2.frames import Code, Setting
from agentring.http2.hpack import block
from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_frames import ACCEPTED, FOREIGN, message
from harness.http2_peers import NodePeer
from router.relay.pings import RARELY_S

KEEPALIVE_S, TIMEOUT_S = 10.0, 5.0
LIMITS = Limits(keepalive_s=KEEPALIVE_S, keepalive_timeout_s=TIMEOUT_S, reattach_timeout_s=0)
GRPC_MIN_INTERVAL_S = 300.0
GRPC_MAX_STRIKES = 2


class GrpcServer:
    """What gRPC's libraries do as they come: they count PINGs that come too soon, and forget them with each answer."""

    def __init__(self) -> None:
        self._strikes = 0
        self._last_s: float | None = None
        self.has_had_enough = False

    def answers(self) -> None:
        self._strikes, self._last_s = 0, None

    def ping(self, now_s: float, *, has_calls: bool) -> None:
        interval_s = GRPC_MIN_INTERVAL_S if has_calls else 7_200.0
        if self._last_s is not None and now_s - self._last_s < interval_s:
            self._strikes += 1
            self.has_had_enough |= self._strikes > GRPC_MAX_STRIKES
        self._last_s = now_s


def node_that_permits(wire: Wire, interval_ms: int) -> NodePeer:
    node = wire.add_node("a")
    node.connection.receive(frames.settings({Setting.PING_INTERVAL_MS: interval_ms}), wire.clock.time())
    node.connection.out.clear()  # the peer has sent no such SETTINGS, and would wonder at its acknowledgement
    return node


def node_with_a_call(wire: Wire, interval_ms: int = 0) -> NodePeer:
    node = node_that_permits(wire, interval_ms) if interval_ms else wire.add_node("a")
    client = wire.client()
    client.send(client.open(FOREIGN), message(b"x"))
    wire.settle()
    return node


def pings(wire: Wire, node: NodePeer, seconds: int) -> list[float]:
    """When it was asked, in so many seconds."""
    asked = []
    for _ in range(seconds):
        wire.clock.advance(1.0)
        node.connection.tick(wire.clock.time())
        if any(frame[3] == frames.PING for frame in node.connection.out):
            asked.append(wire.clock.time())
        wire.settle()
    return asked


@pytest.mark.parametrize("has_call", [True, False])
def test_one_that_says_how_often_is_asked_as_often(has_call: bool) -> None:
    wire = Wire(limits=LIMITS)
    node = node_with_a_call(wire, 500) if has_call else node_that_permits(wire, 500)
    asked = pings(wire, node, 600)
    assert len(asked) > 50
    assert {after - before for before, after in pairwise(asked)} == {KEEPALIVE_S + 1}
    for client in wire.clients:
        client.lose()
    wire.close()


def test_one_that_permits_less_than_we_like_is_asked_less() -> None:
    wire = Wire(limits=LIMITS)
    node = node_with_a_call(wire, 60_000)
    asked = pings(wire, node, 600)
    assert {after - before for before, after in pairwise(asked)} == {61.0}
    wire.clients[0].lose()
    wire.close()


def test_one_that_says_nothing_is_asked_twice_and_then_rarely() -> None:
    wire = Wire(limits=LIMITS)
    node = node_with_a_call(wire)
    asked = pings(wire, node, 1_100)
    gaps = [after - before for before, after in pairwise(asked)]
    assert (gaps[0], min(gaps[1:]) > GRPC_MIN_INTERVAL_S, len(gaps)) == (KEEPALIVE_S + 1, True, 4)
    wire.clients[0].lose()
    wire.close()


def test_one_that_says_nothing_and_has_no_call_is_not_asked() -> None:
    wire = Wire(limits=LIMITS)
    assert pings(wire, wire.add_node("a"), 1_000) == []
    wire.close()


@given(
    st.lists(
        st.tuples(st.sampled_from(["headers", "data", "call", "end", "nothing"]), st.integers(1, 400)), max_size=30
    )
)
def test_no_server_of_grpcs_ever_has_enough(events: list[tuple[str, int]]) -> None:
    wire = Wire(limits=LIMITS)
    client, node, server = wire.client(), wire.add_node("a"), GrpcServer()
    open_calls: list[int] = []
    for what, seconds in events:
        if what == "call":
            open_calls.append(client.open(FOREIGN))
            client.send(open_calls[-1], message(b"x"))
        elif what == "end" and open_calls:
            client.reset(open_calls.pop())
        elif open_calls and what in ("headers", "data") and node.may_send(node.latest):
            if node.latest not in node.accepted:
                node.accept(node.latest)
            elif what == "data":
                node.send(node.latest, message(b"y"))
            else:
                continue
            server.answers()
        wire.settle()
        for at_s in pings(wire, node, seconds):
            server.ping(at_s, has_calls=bool(node.connection.streams))
    assert not server.has_had_enough
    assert node.connection.broken_for == ""
    client.lose()
    wire.close()


@pytest.mark.parametrize("answered", [True, False])
def test_one_that_has_died_is_noticed_while_a_call_waits_for_it(answered: bool) -> None:
    wire = Wire(limits=LIMITS)
    node = node_with_a_call(wire)
    if answered:
        node.connection.receive(frames.headers(1, block(ACCEPTED), end_stream=False), wire.clock.time())
    begun_s = wire.clock.time()
    while node.connection.ended is None:
        wire.clock.advance(1.0)
        node.connection.tick(wire.clock.time())
        node.connection.out.clear()
    assert node.connection.broken_for == "keepalive timeout"
    assert wire.clock.time() - begun_s <= KEEPALIVE_S + TIMEOUT_S + 2
    wire.clients[0].lose()
    wire.close()


def test_one_that_has_had_too_many_is_asked_half_as_often_on_its_next_connection() -> None:
    wire = Wire(limits=LIMITS)
    first = node_with_a_call(wire)
    goaway = frames.goaway(frames.MAX_STREAM_ID, Code.ENHANCE_YOUR_CALM, "too_many_pings")
    first.connection.receive(goaway, wire.clock.time())
    client = wire.client()
    client.send(client.open(FOREIGN), message(b"x"))
    wire.settle()
    second = wire.node()
    assert second is not first
    asked = pings(wire, second, int(RARELY_S * 2) + 20)
    assert len(asked) == 1
    for each in wire.clients:
        each.lose()
    wire.close()
