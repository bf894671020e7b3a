"""When the next owner of a lost call's session is looked for, for how long, and what ends the search."""

import pytest

from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, marked
from harness.http2_losses import DETAILS, MOVED
from harness.http2_peers import NodePeer
from harness.http2_reattach import OPEN, TURN, attached, drain, lose, next_owner


def test_it_is_tried_with_pauses_until_the_session_has_an_owner() -> None:
    wire = Wire("a", "b", limits=Limits())
    client, stream_id, node = attached(wire)
    lose(wire, node)
    tries = 0
    while tries < 8:
        asked = len(wire.pool.asked)
        wire.clock.advance(2.0)
        wire.settle()
        if len(wire.pool.asked) > asked:
            other = wire.node(wire.pool.asked[-1])
            other.decline(other.latest, "14", MOVED, DETAILS)
            wire.settle()
            tries += 1
    next_node, at_node = next_owner(wire, 2.0)
    next_node.accept(at_node)
    next_node.finish(at_node)
    wire.settle()
    assert client.streams[stream_id].status == "0"
    wire.close()


async def test_a_change_of_the_membership_is_no_time_to_wait_on() -> None:
    wire = Wire("a", "b", limits=Limits())
    client, stream_id, node = attached(wire)
    drain(wire, node)
    wire.settle()
    for _ in range(6):
        next_node, at_node = next_owner(wire, 2.0)
        next_node.decline(at_node, "14", MOVED, DETAILS)
        wire.settle()
    asked = len(wire.pool.asked)
    await wire.context.registry.membership_changed(wire.view.snapshot)
    assert len(wire.pool.asked) == asked + 1
    client.reset(stream_id)
    wire.settle()
    assert not wire.context.registry.waiting
    wire.close()


async def test_a_try_that_was_under_way_when_the_membership_changed_is_followed_by_one_at_once() -> None:
    """It was told of the dead owner a moment before that one's claim was gone."""
    wire = Wire("a", "b", limits=Limits())
    client, stream_id, node = attached(wire)
    drain(wire, node)
    wire.settle()
    for _ in range(6):
        next_node, at_node = next_owner(wire, 2.0)
        next_node.decline(at_node, "14", MOVED, DETAILS)
        wire.settle()
    next_node, at_node = next_owner(wire, 2.0)
    asked = len(wire.pool.asked)
    await wire.context.registry.membership_changed(wire.view.snapshot)
    assert len(wire.pool.asked) == asked  # never two at once
    next_node.decline(at_node, "14", MOVED, DETAILS)
    wire.settle()
    next_node, at_node = next_owner(wire)
    assert len(wire.pool.asked) == asked + 1
    next_node.accept(at_node)
    next_node.finish(at_node)
    wire.settle()
    assert client.streams[stream_id].status == "0"
    assert not wire.context.registry.waiting
    wire.close()


def test_a_node_that_does_not_answer_for_a_while_is_left_for_the_next() -> None:
    wire = Wire("a", "b", "c", limits=Limits())
    client, stream_id, node = attached(wire)
    lose(wire, node)
    wire.settle()
    slow, at_slow = next_owner(wire)
    _show_life(wire, slow)
    slower, at_slower = next_owner(wire, 2.5)
    _show_life(wire, slower)
    assert slow.streams[at_slow].reset is not None
    next_node, at_node = next_owner(wire, 2.5)
    assert len({id(each) for each in (slow, slower, next_node)}) == 3
    assert slower.streams[at_slower].reset is not None
    asked = len(wire.pool.asked)
    wire.clock.advance(20.0)
    wire.settle()
    assert len(wire.pool.asked) == asked  # there is no other
    next_node.accept(at_node)
    next_node.send(at_node, marked(6, 2, b"next"))
    wire.settle()
    assert client.streams[stream_id].data.endswith(marked(6, 2, b"next"))
    client.reset(stream_id)
    wire.settle()
    wire.close()


def test_what_a_node_was_sent_that_is_left_is_sent_again_as_a_retry() -> None:
    """It may be the owner, which is only slow, and the next one leads back to it: a turn that it knows already would be
    replayed, beside the events that it sends anyway."""
    wire = Wire("a", "b", "c", limits=Limits())
    client, stream_id, node = attached(wire)
    lose(wire, node)
    wire.settle()
    slow, at_slow = next_owner(wire)
    assert slow.streams[at_slow].fields["x-agentring-frames"] == "2 2"
    client.send(stream_id, TURN)
    wire.settle()
    _show_life(wire, slow)
    next_node, at_node = next_owner(wire, 2.5)
    assert next_node is not slow
    assert next_node.streams[at_node].fields["x-agentring-frames"] == "2 3"
    client.reset(stream_id)
    wire.settle()
    wire.close()


def test_of_nodes_that_fall_silent_with_the_call_only_one_is_left() -> None:
    """It may be the call that holds them up: then it must not hold up one after another."""
    wire = Wire("a", "b", "c", limits=Limits(keepalive_s=10.0, keepalive_timeout_s=5.0))
    client, stream_id, node = attached(wire)
    wire.clock.advance(5.0)
    lose(wire, node)
    wire.settle()
    next_owner(wire)
    silent, at_silent = next_owner(wire, 2.5)
    asked = len(wire.pool.asked)
    for _ in range(30):
        wire.clock.advance(1.0)
        silent.connection.tick(wire.clock.time())
        client.exchange()
    assert len(wire.pool.asked) == asked
    assert silent.connection.broken_for == "keepalive timeout"
    assert (client.streams[stream_id].status, at_silent > 0) == ("13", True)
    client.lose()
    wire.close()


def _show_life(wire: Wire, node: NodePeer) -> None:
    """The node says something else."""
    wire.clock.advance(0.1)
    node.h2.ping(bytes(8))
    wire.settle()


def test_the_owner_is_waited_for_however_slow_it_is() -> None:
    wire = Wire("a", "b", "c", limits=Limits())
    client, stream_id, node = attached(wire)
    lose(wire, node)
    wire.settle()
    first, at_first = next_owner(wire)
    owner = next(name for name in ("a", "b", "c") if name != wire.pool.asked[-1])
    first.redirect(at_first, owner)
    wire.settle()
    assert wire.pool.asked[-1] == owner
    asked = len(wire.pool.asked)
    wire.clock.advance(20.0)
    wire.settle()
    assert len(wire.pool.asked) == asked
    client.reset(stream_id)
    wire.settle()
    wire.close()


def test_without_an_owner_in_time_the_call_ends_with_an_error_to_try_again_after() -> None:
    wire = Wire("a", "b", limits=Limits(reattach_timeout_s=10.0))
    client, stream_id, node = attached(wire)
    drain(wire, node)
    for _ in range(40):
        wire.settle()
        for peer in wire.nodes[wire.pool.asked[-1]]:
            if peer.may_send(peer.latest):
                peer.decline(peer.latest, "14", MOVED, DETAILS)
        wire.settle()
        wire.clock.advance(0.5)
    assert client.streams[stream_id].status == "14"
    assert client.streams[stream_id].sentence == "the session or task is moving to another node"
    assert wire.context.stats.reattachments == {("moved", "timed_out"): 1}
    wire.close()


def test_an_error_of_the_next_owner_is_the_calls_and_comes_as_trailers() -> None:
    wire = Wire("a", "b", limits=Limits())
    client, stream_id, node = attached(wire)
    lose(wire, node)
    next_node, at_node = next_owner(wire)
    next_node.decline(at_node, "11", ("grpc-message", "too old"), DETAILS)
    wire.settle()
    heard = client.streams[stream_id]
    assert heard.trailers == [("grpc-status", "11"), ("grpc-message", "too old"), DETAILS]
    assert heard.data == marked(5, 1, b"first")
    wire.close()


@pytest.mark.parametrize("leaves", ["client", "deadline"])
def test_nobody_is_asked_any_more_once_the_client_has_left_or_its_deadline_is_over(leaves: str) -> None:
    wire = Wire("a", limits=Limits())
    client = wire.client()
    stream_id = client.open(CONVERSE, ("grpc-timeout", "3S"))
    client.send(stream_id, OPEN)
    wire.settle()
    node = wire.node()
    node.accept(node.latest)
    wire.pool.held.add("a")
    lose(wire, node)
    wire.clock.advance(0.1)
    wire.settle()
    if leaves == "client":
        client.reset(stream_id)
    else:
        wire.clock.advance(3.0)
    wire.settle()
    if leaves == "deadline":
        assert client.streams[stream_id].status == "4"
    asked = len(wire.pool.asked)
    wire.clock.advance(60.0)
    wire.pool.release("a", connected=False)
    wire.settle()
    assert len(wire.pool.asked) == asked
    wire.close()


def test_a_first_open_waits_while_the_session_moves() -> None:
    wire = Wire("a", limits=Limits())
    client = wire.client()
    stream_id = client.open()
    client.send(stream_id, OPEN)
    wire.settle()
    node = wire.node()
    node.decline(1, "14", MOVED, DETAILS)
    wire.settle()
    next_node, at_node = next_owner(wire, 0.2)
    assert at_node == 3
    assert "x-agentring-frames" not in next_node.streams[at_node].fields
    next_node.accept(at_node)
    next_node.finish(at_node)
    wire.settle()
    assert client.streams[stream_id].status == "0"
    wire.close()


def test_a_first_open_waits_while_no_node_can_be_reached() -> None:
    wire = Wire("a", limits=Limits())
    client = wire.client()
    stream_id = client.open()
    client.send(stream_id, OPEN)
    wire.settle()
    wire.pool.held.add("a")
    lose(wire, wire.node())
    wire.settle()
    wire.pool.release("a", connected=False)
    assert not client.streams[stream_id].ended
    next_node, at_node = next_owner(wire, 0.2)
    assert "x-agentring-frames" not in next_node.streams[at_node].fields
    next_node.accept(at_node)
    next_node.finish(at_node)
    wire.settle()
    assert client.streams[stream_id].status == "0"
    wire.close()
