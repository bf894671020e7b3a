"""How often a call is tried under which connections break.

A call is asked of another node only where nobody can have begun with it, or where the node knows it again; and one
under which connections break is not carried from node to node.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agentring.http2 import frames
from agentring.http2.frames import Code
from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, GET_SESSION, RUN_TASK, marked
from harness.http2_opened import OPEN, OURS, asked_for, opened, reason


@pytest.mark.parametrize("path", OURS)
def test_a_call_under_which_connections_break_is_tried_on_one_more(wire: Wire, path: str) -> None:
    with capture_logs() as logs:
        heard, node, _ = opened(wire, wire.client(), path)
        lost = 0
        while not heard.ended and lost < 10:
            node.lose()
            lost += 1
            wire.clock.advance(1.5)
            wire.settle()
            node = wire.node(wire.pool.asked[-1])
    assert (lost, asked_for(wire, path)) == (2, 2)
    assert (heard.status, reason(heard)) == ("13", "CONNECTIONS_LOST")
    assert wire.context.stats.lost_unaccepted == {"tried_again": 1, "given_up": 1}
    given_up = [each for each in logs if each["event"] == "call_given_up"]
    assert [(each["method"], len(each["nodes"])) for each in given_up] == [(path, 2)]


def test_a_service_that_may_have_begun_is_not_asked_again(wire: Wire) -> None:
    with capture_logs() as logs:
        heard, node, _ = opened(wire, wire.client(), FOREIGN)
        node.lose()
        wire.settle()
    assert (heard.status, reason(heard), asked_for(wire, FOREIGN)) == ("14", "NODE_UNREACHABLE", 1)
    assert [(each["event"], each["method"]) for each in logs] == [("call_lost", FOREIGN)]
    assert wire.context.stats.lost_unaccepted == {"not_repeatable": 1}


def test_a_service_of_a_node_that_has_left_ends_its_calls_itself(wire: Wire) -> None:
    heard, node, at_node = opened(wire, wire.client(), FOREIGN)
    node.connection.node_left()
    node.accept(at_node)
    node.finish(at_node)
    wire.settle()
    assert (heard.status, len(wire.pool.asked)) == ("0", 1)


@pytest.mark.parametrize("leaves", [1, 2])
def test_nodes_that_leave_with_a_call_untaken_count_as_well(wire: Wire, leaves: int) -> None:
    """A call may also be what holds its node up until that has lost its lease."""
    heard, node, _ = opened(wire, wire.client(), CONVERSE)
    for _ in range(leaves):
        wire.nodes[node.name].remove(node)
        node.connection.node_left()
        wire.clock.advance(0.1)
        wire.settle()
        node = wire.node(wire.pool.asked[-1]) if wire.nodes.get(wire.pool.asked[-1]) else node
    assert heard.ended is (leaves == 2)


def test_after_a_redirect_it_is_still_the_same_call(wire: Wire) -> None:
    heard, node, at_node = opened(wire, wire.client(), CONVERSE)
    others = [name for name in "abc" if name != node.name]
    node.lose()
    wire.clock.advance(0.1)
    wire.settle()
    node = wire.node(wire.pool.asked[-1])
    node.redirect(node.latest, others[0])
    wire.settle()
    wire.node(others[0]).lose()
    wire.settle()
    assert (heard.status, reason(heard)) == ("13", "CONNECTIONS_LOST")
    assert at_node == 1


def test_a_stream_that_is_on_its_way_back_is_tried_on_one_more(wire: Wire) -> None:
    heard, node, at_node = opened(wire, wire.client(), CONVERSE)
    node.accept(at_node)
    node.send(at_node, marked(1, 1))
    wire.settle()
    wire.clock.advance(5.0)
    lost = 0
    while not heard.ended and lost < 10:
        node.lose()
        lost += 1
        wire.clock.advance(1.5)
        wire.settle()
        node = wire.node(wire.pool.asked[-1])
    assert lost == 3  # it had been served well on the first
    assert reason(heard) == "CONNECTIONS_LOST"


def test_a_stream_whose_nodes_die_as_soon_as_they_have_taken_it_is_given_up(wire: Wire) -> None:
    heard, node, _ = opened(wire, wire.client(), CONVERSE)
    taken = 0
    while not heard.ended and taken < 10:
        node.accept(node.latest)
        wire.settle()
        node.lose()
        taken += 1
        wire.clock.advance(1.5)
        wire.settle()
        node = wire.node(wire.pool.asked[-1])
    assert (taken, reason(heard)) == (2, "CONNECTIONS_LOST")


def test_a_call_that_comes_to_something_on_each_node_may_lose_any_number(wire: Wire) -> None:
    heard, node, _ = opened(wire, wire.client(), CONVERSE)
    for seq in range(1, 9):
        node.accept(node.latest)
        node.send(node.latest, marked(seq, 1))
        wire.settle()
        node.lose()
        wire.clock.advance(1.5)
        wire.settle()
        node = wire.node(wire.pool.asked[-1])
    assert not heard.ended
    assert wire.context.stats.lost_unaccepted == {}


@pytest.mark.parametrize("path", [CONVERSE, RUN_TASK])
def test_where_all_nodes_die_one_right_after_the_other_streams_wait_for_them(wire: Wire, path: str) -> None:
    """Those that no node had taken, too: each must not try the next connection just when that breaks as well."""
    client = wire.client()
    attached, node, at_node = opened(wire, client, path)
    node.accept(at_node)
    node.send(at_node, marked(1, 1))
    wire.settle()
    untaken, _, _ = opened(wire, client, path)
    for name in "abc":
        if name not in wire.nodes:
            wire.add_node(name)
    for name in (node.name, *"abc".replace(node.name, "")):
        wire.pool.held.add(name)
        for peer in wire.nodes.pop(name):
            peer.lose()
        for node_id in list(wire.pool.held):
            wire.pool.release(node_id, connected=False)  # it takes no connections any more
            wire.pool.held.add(node_id)
        wire.clock.advance(0.001)
        wire.settle()
    for _ in range(10):
        wire.clock.advance(0.5)
        wire.settle()
        for name in "abc":
            wire.pool.release(name, connected=False)
            wire.pool.held.add(name)
    assert not attached.ended
    assert not untaken.ended
    for name in "abc":
        wire.pool.release(name, connected=True)
    wire.clock.advance(2.0)
    wire.settle()
    for peer in [peer for peers in wire.nodes.values() for peer in peers]:
        for each in filter(peer.may_send, list(peer.streams)):
            peer.accept(each)
            peer.finish(each)
    wire.settle()
    assert (attached.status, untaken.status) == ("0", "0")


@pytest.mark.parametrize("how", ["goaway", "refused"])
def test_what_was_not_looked_at_is_no_loss(wire: Wire, how: str) -> None:
    heard, node, _ = opened(wire, wire.client(), FOREIGN)
    for _ in range(2):
        if how == "goaway":
            node.connection.receive(frames.goaway(0, Code.NO_ERROR), wire.clock.time())
        else:
            node.reset(node.latest, Code.REFUSED_STREAM)
        wire.settle()
        node = wire.node(wire.pool.asked[-1])
    node.accept(node.latest)
    node.finish(node.latest)
    wire.settle()
    assert (heard.status, asked_for(wire, FOREIGN)) == ("0", 3)
    assert wire.context.stats.lost_unaccepted == {}


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([CONVERSE, GET_SESSION, RUN_TASK])), min_size=1, max_size=8))
def test_of_many_on_one_connection_the_innocent_are_served(calls: list[tuple[bool, str]]) -> None:
    """A node dies with the first call that ends it, and has by then answered what does not; the first, nothing."""
    wire = Wire("a", "b", "c", limits=Limits())
    client = wire.client()
    guilty = {client.open(path, ("x-task-key", "s"), ("x-guilty", str(bad))): bad for bad, path in calls}
    for stream_id in guilty:
        client.send(stream_id, OPEN, end=True)
    wire.settle()
    killed = 0
    for _ in range(12):
        for node in [peer for peers in wire.nodes.values() for peer in peers if peer.connection.ended is None]:
            found = [at_node for at_node in node.streams if node.may_send(at_node)]
            those = [at_node for at_node in found if node.streams[at_node].fields["x-guilty"] == "True"]
            for at_node in found:
                if at_node not in those and (killed or not any(guilty.values())):
                    node.accept(at_node)
                    node.send(at_node, marked(1, 1))
                    node.finish(at_node)
            node.exchange()
            if those:
                node.lose()
                killed += 1
        wire.clock.advance(1.5)
        wire.settle()
    assert killed <= 2 * sum(guilty.values())
    for stream_id, bad in guilty.items():
        heard = client.streams[stream_id]
        assert (heard.status, reason(heard)) == (("13", "CONNECTIONS_LOST") if bad else ("0", "")), stream_id
    client.lose()
    wire.close()
