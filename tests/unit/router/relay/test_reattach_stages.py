"""Each way to lose a node, at each stage of a call: what the next node is sent, what the client is told."""

import pytest

from agentring.errors import AgentNotFound
from agentring.http2.frames import Setting
from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, RUN_TASK, marked, message
from harness.http2_losses import DETAILS, LOSSES, MOVED, SAYS, Losing, Loss
from harness.memberships import node as member

OPEN, TURN, CANCEL = message(b"open"), message(b"turn"), message(b"cancel")
EMPTY = message(b"")
LARGE = message(bytes(300_000))
(drop,) = (loss for loss in LOSSES if loss.cause == "moved")


@pytest.fixture
def losing() -> Losing:
    return Losing(Wire("a", "b", "c", limits=Limits()))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_before_the_headers_the_call_is_only_begun_elsewhere(losing: Losing, loss: Loss) -> None:
    if loss.needs_headers:
        pytest.skip("a node that was not heard yet declines instead")
    stream_id, node = losing.opened(OPEN + TURN)
    loss(losing.wire, node)
    again = losing.next_node()
    told = again.streams[again.latest].told
    assert "x-agentring-frames" not in told
    assert again.streams[again.latest].data == OPEN + TURN
    again.accept(again.latest)
    again.finish(again.latest)
    losing.wire.settle()
    assert losing.client.streams[stream_id].status == "0"
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_after_the_headers_the_stream_begins_where_the_first_node_said(losing: Losing, loss: Loss) -> None:
    stream_id, node = losing.opened(OPEN + TURN)
    node.accept(node.latest, ("x-agentring-begins-after", "41"))
    losing.wire.settle()
    assert "x-agentring-begins-after" not in losing.client.streams[stream_id].told
    loss(losing.wire, node)
    again = losing.next_node()
    told = again.streams[again.latest].told
    assert told["x-agentring-begins-after"] == "41"
    assert told["x-agentring-epoch"] == "7"
    assert told["x-agentring-frames"] == "1 2"
    assert "x-agentring-after-seq" not in told
    again.accept(again.latest, ("x-agentring-begins-after", "50"))
    again.send(again.latest, marked(60, 2))
    losing.wire.settle()
    loss(losing.wire, again)
    third = losing.next_node()
    told = third.streams[third.latest].told
    assert (told["x-agentring-begins-after"], told["x-agentring-after-seq"]) == ("41", "60")
    assert losing.client.streams[stream_id].headers.count((":status", "200")) == 1
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_in_the_middle_of_an_answer_larger_than_a_frame(losing: Losing, loss: Loss) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    node.send(node.latest, marked(9, 2, bytes(100_000))[:40_000])
    losing.wire.settle()
    loss(losing.wire, node)
    again = losing.next_node()
    assert again.streams[again.latest].told["x-agentring-after-seq"] == "5"
    again.accept(again.latest)
    again.send(again.latest, marked(9, 2, bytes(100_000)))
    again.finish(again.latest)
    losing.wire.settle()
    heard = losing.client.streams[stream_id]
    assert heard.data == marked(5, 1, b"first") + marked(9, 2, bytes(100_000))
    assert heard.status == "0"
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_in_the_middle_of_a_message_larger_than_the_nodes_window(losing: Losing, loss: Loss) -> None:
    """The client, held back by a node that is gone, must be let go on: the message is whole only at the next one."""
    losing.wire.node_settings = {Setting.INITIAL_WINDOW_SIZE: 20_000}
    stream_id, node = losing.attached(OPEN + TURN)
    node.reads = False
    losing.client.send(stream_id, LARGE + CANCEL)
    losing.wire.settle()
    assert losing.client.unsent_bytes(stream_id) > 0
    assert len(node.streams[node.latest].data) < 30_000
    losing.hold()
    loss(losing.wire, node)
    losing.wire.settle()
    assert losing.client.unsent_bytes(stream_id) == 0
    node.reads = True
    again = losing.let_go()
    assert again.streams[again.latest].data == EMPTY + TURN + LARGE + CANCEL
    assert again.streams[again.latest].told["x-agentring-frames"] == "2 2"
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_message_that_becomes_whole_while_there_is_no_node(losing: Losing, loss: Loss) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    losing.client.send(stream_id, LARGE[:100_000])
    losing.wire.settle()
    losing.hold()
    loss(losing.wire, node)
    losing.wire.settle()
    losing.client.send(stream_id, LARGE[100_000:] + CANCEL)
    losing.wire.settle()
    assert losing.client.unsent_bytes(stream_id) == 0
    again = losing.let_go()
    assert again.streams[again.latest].data == EMPTY + TURN + LARGE + CANCEL
    assert again.streams[again.latest].told["x-agentring-frames"] == "2 2"  # the others were never sent to a node
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("while_waiting", [False, True])
def test_after_the_clients_end(losing: Losing, loss: Loss, while_waiting: bool) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    if while_waiting:
        losing.hold()
        loss(losing.wire, node)
        losing.wire.settle()
    losing.client.send(stream_id, CANCEL, end=True)
    losing.wire.settle()
    if while_waiting:
        again = losing.let_go()
    else:
        loss(losing.wire, node)
        again = losing.next_node()
    heard = again.streams[again.latest]
    assert (heard.data, heard.ended) == (EMPTY + TURN + CANCEL, True)
    again.accept(again.latest)
    again.finish(again.latest)
    losing.wire.settle()
    assert losing.client.streams[stream_id].status == "0"
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_while_the_clients_window_is_shut(loss: Loss) -> None:
    """What waits for the client is all that was said: the next node goes on after that."""
    losing = Losing(Wire("a", "b", "c", limits=Limits()), {Setting.INITIAL_WINDOW_SIZE: 100})
    losing.client.reads = False
    stream_id, node = losing.opened(OPEN + TURN)
    node.accept(node.latest)
    said = [marked(seq, 1, bytes([seq]) * 1_000) for seq in range(1, 4)]
    for each in said[:2]:
        node.send(node.latest, each)
        losing.wire.settle()
    loss(losing.wire, node)
    again = losing.next_node()
    assert again.streams[again.latest].told["x-agentring-after-seq"] == "2"
    again.accept(again.latest)
    again.send(again.latest, said[2])
    losing.wire.settle()
    heard = losing.client.streams[stream_id]
    assert len(heard.data) == 100
    losing.client.reads = True
    losing.client.credit(stream_id)
    losing.client.h2.increment_flow_control_window(1 << 20, stream_id)
    losing.wire.settle()
    assert heard.data == b"".join(said)
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("path", [CONVERSE, RUN_TASK])
def test_a_second_loss_at_each_stage_of_the_return(losing: Losing, loss: Loss, path: str) -> None:
    stream_id, node = losing.attached(OPEN, path=path)
    loss(losing.wire, node)
    second = losing.next_node()
    if loss.needs_headers:
        second.decline(second.latest, "14", MOVED, DETAILS)
    else:
        loss(losing.wire, second)  # before it has taken the call
    third = losing.next_node()
    assert third is not second or third.latest not in second.accepted
    third.accept(third.latest)
    losing.wire.settle()
    losing.wire.clock.advance(1.5)  # so it was not what the call brings with it
    loss(losing.wire, third)  # before it has said anything
    fourth = losing.next_node()
    told = fourth.streams[fourth.latest].told
    assert told["x-agentring-after-seq"] == "5"
    first = "1 1" if path == RUN_TASK else "2 1"
    assert told["x-agentring-frames"] == first
    fourth.accept(fourth.latest)
    fourth.send(fourth.latest, marked(6, 1, b"second"))
    fourth.finish(fourth.latest)
    losing.wire.settle()
    heard = losing.client.streams[stream_id]
    assert (heard.data, heard.status) == (marked(5, 1, b"first") + marked(6, 1, b"second"), "0")
    assert losing.wire.context.stats.reattachments == {(loss.cause, "resumed"): 2}
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("fate", ["cancel", "deadline", "budget", "client lost"])
@pytest.mark.parametrize("waits_for", ["pause", "connection"])
def test_the_call_ends_while_there_is_no_node(loss: Loss, fate: str, waits_for: str) -> None:
    losing = Losing(Wire("a", "b", "c", limits=Limits(), max_buffered_bytes=100_000))
    stream_id, node = losing.attached(OPEN + TURN, fields=(("grpc-timeout", "5S"),))
    losing.hold()
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
    assert "grpc-status-details-bin" in heard.told
    assert losing.wire.context.stats.reattachments == {("moved", "timed_out"): 1}
    asked = len(losing.wire.pool.asked)
    assert asked < 3 * 60  # three nodes, with pauses that grow
    losing.close()


@pytest.mark.parametrize("opened", [b"", b"as-node-9-or-10"], ids=["silent", "opened"])
def test_nodes_that_take_the_call_and_drop_it_at_once_are_not_asked_without_end(losing: Losing, opened: bytes) -> None:
    """Also where each says that it has taken the call, which is nothing new, in a message of another length."""
    stream_id, node = losing.attached(OPEN + TURN)
    taken = 0
    drop(losing.wire, node)
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
            drop(losing.wire, latest)
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
        drop(losing.wire, node)
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
        drop(losing.wire, node)
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
    assert "x-agentring-begins-after" not in losing.client.streams[stream_id].told
    losing.close()


def test_an_agent_that_nobody_hosts_any_more_may_come_back(losing: Losing) -> None:
    """Its nodes may be starting anew; a call that no node had taken is told at once."""
    stream_id, node = losing.attached(OPEN + TURN, fields=(("x-agent", "echo"),))
    losing.wire.view.set(member("a", agents=()), member("b", agents=()))
    drop(losing.wire, node)
    losing.wire.settle()
    losing.wire.clock.advance(5.0)
    losing.wire.settle()
    assert not losing.client.streams[stream_id].ended
    other = losing.client.open(CONVERSE, ("x-agent", "echo"), session="other")
    losing.client.send(other, OPEN)
    losing.wire.settle()
    assert losing.client.streams[other].sentence == AgentNotFound("echo").sentence
    losing.wire.view.set(member("a"), member("b"))
    again = losing.next_node(2.0)
    again.accept(again.latest)
    again.finish(again.latest)
    losing.wire.settle()
    assert losing.client.streams[stream_id].status == "0"
    losing.close()
