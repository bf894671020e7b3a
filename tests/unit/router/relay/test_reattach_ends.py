"""How a call ends that has lost its node: while there is none, by what the next one says, or after its time."""

import pytest

from agentring.errors import AgentNotFound
from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, marked, message
from harness.http2_losses import DETAILS, LOSSES, MOVED, SAYS, Losing, Loss
from harness.http2_reattach import CANCEL, OPEN, TURN, drain
from harness.memberships import node as member


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("fate", ["cancel", "deadline", "budget", "client lost"])
@pytest.mark.parametrize("waits_for", ["pause", "connection"])
def test_the_call_ends_while_there_is_no_node(loss: Loss, fate: str, waits_for: str) -> None:
    losing = Losing(Wire("a", "b", "c", limits=Limits(), max_buffered_bytes=100_000))
    stream_id, node = losing.attached(OPEN + TURN, fields=(("grpc-timeout", "5S"),))
    losing.hold_connections()
    loss(losing.wire, node)
    losing.wire.settle()
    if waits_for == "connection":
        losing.wire.clock.advance(0.0)
        assert losing.wire.pool.waiting
    losing.client.send(stream_id, CANCEL)
    losing.wire.settle()
    assert not losing.client.streams[stream_id].ended
    status, outcome = None, "cancelled"
    if fate == "cancel":
        losing.client.reset(stream_id)
    elif fate == "client lost":
        losing.client.lose()
    elif fate == "deadline":
        losing.wire.clock.advance(5.0)
        status, outcome = "4", "failed"
    else:
        losing.client.send(stream_id, message(bytes(60_000)) * 2)
        status, outcome = "8", "failed"
    losing.wire.settle()
    assert losing.client.streams[stream_id].status == status
    assert losing.wire.context.stats.reattachments == {(loss.cause, outcome): 1}
    for name in list(losing.wire.pool.held):
        losing.wire.pool.release(name, connected=True)
    losing.wire.clock.advance(60.0)
    losing.wire.settle()
    assert not any(peer.connection.streams for peers in losing.wire.nodes.values() for peer in peers)
    assert not losing.wire.context.registry.waiting
    losing.close()


@pytest.mark.parametrize("answer", ["unavailable", "no agent", "full", "no nodes"])
def test_what_passes_is_waited_out_and_told_at_the_end(losing: Losing, answer: str) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    node.finish(node.latest, "14", MOVED, DETAILS)
    if answer == "no nodes":
        losing.wire.view.set()
    losing.wire.settle()
    for _ in range(80):
        losing.wire.clock.advance(0.5)
        losing.wire.settle()
        for peer in [peer for peers in losing.wire.nodes.values() for peer in peers]:
            for at_node in peer.streams:
                if at_node not in peer.accepted and peer.may_send(at_node):
                    if answer == "unavailable":
                        peer.decline(at_node, "14", SAYS, DETAILS)
                    else:
                        peer.refuse(at_node, "agent=echo" if answer == "no agent" else "overloaded")
        losing.wire.settle()
    heard = losing.client.streams[stream_id]
    assert heard.status == ("8" if answer == "full" else "14")
    assert "grpc-status-details-bin" in heard.fields
    assert losing.wire.context.stats.reattachments == {("moved", "timed_out"): 1}
    asked = len(losing.wire.pool.asked)
    assert asked < 3 * 60  # three nodes, with pauses that grow
    losing.close()


@pytest.mark.parametrize("opened", [b"", b"as-node-9-or-10"], ids=["silent", "opened"])
def test_nodes_that_take_the_call_and_drop_it_at_once_are_not_asked_without_end(losing: Losing, opened: bytes) -> None:
    """Also where each says that it has taken the call, which is nothing new, in a message of another length."""
    stream_id, node = losing.attached(OPEN + TURN)
    taken = 0
    drain(losing.wire, node)
    for _ in range(400):
        losing.wire.settle()
        if losing.client.streams[stream_id].ended:
            break
        latest = losing.wire.node(losing.wire.pool.asked[-1])
        if latest.may_send(latest.latest):
            latest.accept(latest.latest)
            if opened:
                latest.send(latest.latest, marked(5, 1, opened[: len(opened) - taken % 2]))
            losing.wire.settle()
            drain(losing.wire, latest)
            losing.wire.settle()
            taken += 1
        losing.wire.clock.advance(0.1)
    assert losing.client.streams[stream_id].status == "14"
    assert 5 < taken < 60
    assert losing.wire.context.stats.reattachments["moved", "timed_out"] == 1
    losing.close()


def test_whoever_was_told_something_new_has_all_the_time_again(losing: Losing) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    waits_s = losing.wire.context.limits.reattach_timeout_s * 0.9
    for seq in range(6, 10):
        drain(losing.wire, node)
        losing.wire.settle()
        losing.wire.clock.advance(waits_s)
        losing.wire.settle()
        node = losing.next_node()
        node.accept(node.latest)
        node.send(node.latest, marked(seq, 2, b"new"))
        losing.wire.settle()
    assert not losing.client.streams[stream_id].ended
    assert losing.client.streams[stream_id].data.endswith(marked(9, 2, b"new"))
    losing.close()


def test_a_node_that_served_for_a_while_begins_the_time_anew(losing: Losing) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    for _ in range(10):
        drain(losing.wire, node)
        losing.wire.settle()
        asked = len(losing.wire.pool.asked)
        losing.wire.clock.advance(0.0)
        losing.wire.settle()
        assert len(losing.wire.pool.asked) == asked + 1  # at once
        node = losing.next_node()
        node.accept(node.latest)
        losing.wire.settle()
        losing.wire.clock.advance(10.0)
    assert not losing.client.streams[stream_id].ended
    assert losing.wire.context.stats.reattachments == {("moved", "resumed"): 10}
    losing.close()


@pytest.mark.parametrize("status", ["0", "3", "9", "11", "13", "14"])
def test_any_other_end_passes_through(losing: Losing, status: str) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    node.finish(node.latest, status, DETAILS)
    losing.wire.settle()
    assert losing.client.streams[stream_id].status == status
    assert losing.wire.context.stats.reattachments == {}
    losing.close()


def test_what_a_node_says_of_the_way_is_not_for_the_client(losing: Losing) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    node.finish(node.latest, "9", ("x-agentring-begins-after", "1"), ("x-agentring-moved-not", "1"))
    losing.wire.settle()
    assert "x-agentring-begins-after" not in losing.client.streams[stream_id].fields
    losing.close()


def test_an_agent_that_nobody_hosts_any_more_may_come_back(losing: Losing) -> None:
    """Its nodes may be starting anew; a call that no node had taken is told at once."""
    stream_id, node = losing.attached(OPEN + TURN, fields=(("x-agent", "echo"),))
    losing.wire.view.set(member("a", agents=()), member("b", agents=()))
    drain(losing.wire, node)
    losing.wire.settle()
    losing.wire.clock.advance(5.0)
    losing.wire.settle()
    assert not losing.client.streams[stream_id].ended
    other = losing.client.open(CONVERSE, ("x-agent", "echo"), session="other")
    losing.client.send(other, OPEN)
    losing.wire.settle()
    assert losing.client.streams[other].sentence == AgentNotFound("echo").sentence
    losing.wire.view.set(member("a"), member("b"))
    next_node = losing.next_node(2.0)
    next_node.accept(next_node.latest)
    next_node.finish(next_node.latest)
    losing.wire.settle()
    assert losing.client.streams[stream_id].status == "0"
    losing.close()
