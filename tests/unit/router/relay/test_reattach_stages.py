"""Each way to lose a node, at each stage of a call: what the next node is sent, what the client is sent."""

import pytest

from agentring.http2.frames import Setting
from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, RUN_TASK, marked, message
from harness.http2_losses import DETAILS, LOSSES, MOVED, Losing, Loss
from harness.http2_reattach import CANCEL, EMPTY, OPEN, TURN

LARGE = message(bytes(300_000))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_before_the_headers_the_call_is_only_begun_elsewhere(losing: Losing, loss: Loss) -> None:
    if loss.needs_headers:
        pytest.skip("a node that was not heard yet declines instead")
    stream_id, node = losing.opened(OPEN + TURN)
    loss(losing.wire, node)
    next_node = losing.next_node()
    fields = next_node.streams[next_node.latest].fields
    assert "x-agentring-frames" not in fields
    assert next_node.streams[next_node.latest].data == OPEN + TURN
    next_node.accept(next_node.latest)
    next_node.finish(next_node.latest)
    losing.wire.settle()
    assert losing.client.streams[stream_id].status == "0"
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_after_the_headers_the_stream_begins_where_the_first_node_said(losing: Losing, loss: Loss) -> None:
    stream_id, node = losing.opened(OPEN + TURN)
    node.accept(node.latest, ("x-agentring-begins-after", "41"))
    losing.wire.settle()
    assert "x-agentring-begins-after" not in losing.client.streams[stream_id].fields
    loss(losing.wire, node)
    next_node = losing.next_node()
    fields = next_node.streams[next_node.latest].fields
    assert fields["x-agentring-begins-after"] == "41"
    assert fields["x-agentring-epoch"] == "7"
    assert fields["x-agentring-frames"] == "1 2"
    assert "x-agentring-after-seq" not in fields
    next_node.accept(next_node.latest, ("x-agentring-begins-after", "50"))
    next_node.send(next_node.latest, marked(60, 2))
    losing.wire.settle()
    loss(losing.wire, next_node)
    third = losing.next_node()
    fields = third.streams[third.latest].fields
    assert (fields["x-agentring-begins-after"], fields["x-agentring-after-seq"]) == ("41", "60")
    assert losing.client.streams[stream_id].headers.count((":status", "200")) == 1
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_in_the_middle_of_an_answer_larger_than_a_frame(losing: Losing, loss: Loss) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    node.send(node.latest, marked(9, 2, bytes(100_000))[:40_000])
    losing.wire.settle()
    loss(losing.wire, node)
    next_node = losing.next_node()
    assert next_node.streams[next_node.latest].fields["x-agentring-after-seq"] == "5"
    next_node.accept(next_node.latest)
    next_node.send(next_node.latest, marked(9, 2, bytes(100_000)))
    next_node.finish(next_node.latest)
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
    losing.hold_connections()
    loss(losing.wire, node)
    losing.wire.settle()
    assert losing.client.unsent_bytes(stream_id) == 0
    node.reads = True
    next_node = losing.release_connections()
    assert next_node.streams[next_node.latest].data == EMPTY + TURN + LARGE + CANCEL
    assert next_node.streams[next_node.latest].fields["x-agentring-frames"] == "2 2"
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_message_that_becomes_whole_while_there_is_no_node(losing: Losing, loss: Loss) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    losing.client.send(stream_id, LARGE[:100_000])
    losing.wire.settle()
    losing.hold_connections()
    loss(losing.wire, node)
    losing.wire.settle()
    losing.client.send(stream_id, LARGE[100_000:] + CANCEL)
    losing.wire.settle()
    assert losing.client.unsent_bytes(stream_id) == 0
    next_node = losing.release_connections()
    assert next_node.streams[next_node.latest].data == EMPTY + TURN + LARGE + CANCEL
    assert (
        next_node.streams[next_node.latest].fields["x-agentring-frames"] == "2 2"
    )  # the others were never sent to a node
    losing.close()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("while_waiting", [False, True])
def test_after_the_clients_end(losing: Losing, loss: Loss, while_waiting: bool) -> None:
    stream_id, node = losing.attached(OPEN + TURN)
    if while_waiting:
        losing.hold_connections()
        loss(losing.wire, node)
        losing.wire.settle()
    losing.client.send(stream_id, CANCEL, end=True)
    losing.wire.settle()
    if while_waiting:
        next_node = losing.release_connections()
    else:
        loss(losing.wire, node)
        next_node = losing.next_node()
    heard = next_node.streams[next_node.latest]
    assert (heard.data, heard.ended) == (EMPTY + TURN + CANCEL, True)
    next_node.accept(next_node.latest)
    next_node.finish(next_node.latest)
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
    next_node = losing.next_node()
    assert next_node.streams[next_node.latest].fields["x-agentring-after-seq"] == "2"
    next_node.accept(next_node.latest)
    next_node.send(next_node.latest, said[2])
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
    fields = fourth.streams[fourth.latest].fields
    assert fields["x-agentring-after-seq"] == "5"
    first = "1 1" if path == RUN_TASK else "2 1"
    assert fields["x-agentring-frames"] == first
    fourth.accept(fourth.latest)
    fourth.send(fourth.latest, marked(6, 1, b"second"))
    fourth.finish(fourth.latest)
    losing.wire.settle()
    heard = losing.client.streams[stream_id]
    assert (heard.data, heard.status) == (marked(5, 1, b"first") + marked(6, 1, b"second"), "0")
    assert losing.wire.context.stats.reattachments == {(loss.cause, "resumed"): 2}
    losing.close()
