"""A call whose node is lost goes on with the session's next owner, and its client sees one stream."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import Code, Setting
from agentring.http2.limits import Limits
from agentring.ids import parse_session
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, RUN_TASK, marked, message, opening, request
from harness.http2_losses import LOSSES, Loss
from harness.http2_reattach import CANCEL, EMPTY, OPEN, TURN, attached, lose, next_owner


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_stream_goes_on_where_it_was(loss: Loss) -> None:
    wire = Wire("a", "b", limits=Limits())
    client, stream_id, node = attached(wire)
    node.send(node.latest, marked(7, 2, b"half")[:20])  # never whole
    wire.settle()
    stream = node.streams[node.latest].fields["x-agentring-stream-id"]
    loss(wire, node)
    wire.settle()
    assert not client.streams[stream_id].ended
    next_node, at_node = next_owner(wire)
    fields = next_node.streams[at_node].fields
    assert fields["x-agentring-after-seq"] == "5"
    assert fields["x-agentring-frames"] == "2 2"
    assert fields["x-agentring-stream-id"] == stream
    assert next_node.streams[at_node].data == EMPTY + TURN
    next_node.accept(at_node)
    next_node.send(at_node, marked(6, 2, b"second"))
    client.send(stream_id, CANCEL, end=True)
    wire.settle()
    assert next_node.streams[at_node].data == EMPTY + TURN + CANCEL
    assert next_node.streams[at_node].ended
    next_node.finish(at_node)
    wire.settle()
    heard = client.streams[stream_id]
    assert heard.data == marked(5, 1, b"first") + marked(6, 2, b"second")
    assert [name for name, _ in heard.headers].count(":status") == 1
    assert (heard.status, len(heard.trailers or ())) == ("0", 1)
    assert wire.context.stats.reattachments == {(loss.cause, "resumed"): 1}
    wire.close()


def test_a_call_with_one_message_sends_it_again() -> None:
    wire = Wire("a", "b", limits=Limits())
    client, stream_id, node = attached(wire, path=RUN_TASK, said=message(b"the task"))
    client.send(stream_id, b"", end=True)
    wire.settle()
    lose(wire, node)
    next_node, at_node = next_owner(wire)
    assert next_node.streams[at_node].data == message(b"the task")
    assert next_node.streams[at_node].ended
    assert next_node.streams[at_node].fields["x-agentring-frames"] == "1 1"
    client.lose()
    wire.close()


def test_a_call_that_was_answered_nothing_yet_keeps_its_own_after_seq() -> None:
    wire = Wire("a", "b", limits=Limits())
    client = wire.client()
    stream_id = client.open()
    client.send(stream_id, OPEN + TURN)
    wire.settle()
    node = wire.node(wire.pool.asked[-1])
    node.accept(node.latest)
    wire.settle()
    lose(wire, node)
    next_node, at_node = next_owner(wire)
    assert "x-agentring-after-seq" not in next_node.streams[at_node].fields
    assert next_node.streams[at_node].fields["x-agentring-frames"] == "1 2"
    assert next_node.streams[at_node].data == OPEN + TURN
    client.reset(stream_id)
    wire.settle()
    wire.close()


def test_calls_that_cannot_be_attached_again_end_as_they_did() -> None:
    wire = Wire("a", limits=Limits())
    client, stream_id, node = attached(wire, path="/acme.Shop/Buy")
    lose(wire, node)
    wire.settle()
    assert client.streams[stream_id].status == "14"
    assert wire.context.stats.reattachments == {}
    wire.close()


def test_what_is_sent_while_there_is_no_owner_is_kept_within_bounds() -> None:
    wire = Wire("a", limits=Limits(), node_settings={Setting.INITIAL_WINDOW_SIZE: 1 << 30})
    client, stream_id, node = attached(wire)
    wire.pool.held.add("a")
    lose(wire, node)
    wire.clock.advance(0.1)
    client.send(stream_id, message(bytes(60_000)) * 40)
    wire.settle()
    replay = client.connection.streams[stream_id].replay  # type: ignore[attr-defined]
    assert (1 << 20) <= replay.bytes < (1 << 20) + (128 << 10)
    wire.pool.release("a", connected=True)
    wire.settle()
    next_node, at_node = next_owner(wire)
    next_node.accept(at_node)
    for acked in range(2, 43):
        next_node.send(at_node, marked(5, acked))
        wire.settle()
    assert next_node.streams[at_node].data == EMPTY + TURN + message(bytes(60_000)) * 40
    client.lose()
    wire.close()


def test_the_budget_ends_a_call_that_waits_for_its_owner_with_too_much() -> None:
    wire = Wire("a", limits=Limits(), max_buffered_bytes=100_000)
    client, stream_id, node = attached(wire)
    wire.pool.held.add("a")
    lose(wire, node)
    wire.clock.advance(0.1)
    client.send(stream_id, message(bytes(60_000)) * 3)
    wire.settle()
    assert client.streams[stream_id].status == "8"
    wire.pool.release("a", connected=True)
    wire.close()


@pytest.mark.parametrize("path", [CONVERSE, "/acme.Shop/Buy"])
def test_a_node_with_an_older_epoch_than_was_seen_may_not_answer(path: str) -> None:
    wire = Wire("a", "b", limits=Limits())
    client, _, _ = attached(wire)
    assert wire.context.routing.epochs.admits(parse_session("", "s"), 8)  # another owner answered another call
    stream_id = client.open(path)
    client.send(stream_id, OPEN)
    wire.settle()
    stale = wire.node(wire.pool.asked[-1])
    at_node = stale.latest
    stale.accept(at_node)
    wire.settle()
    assert stale.streams[at_node].reset == Code.CANCEL
    assert wire.context.stats.stale_epochs == 1
    if path == CONVERSE:
        assert not client.streams[stream_id].headers
        wire.clock.advance(0.1)
        wire.settle()
        assert wire.node(wire.pool.asked[-1]).latest > at_node
    else:
        assert client.streams[stream_id].sentence == "the session or task is moving to another node"
    client.lose()
    wire.close()


def test_a_node_that_has_left_keeps_no_call_that_can_go_on_elsewhere() -> None:
    """It may be frozen: then nobody else would end them."""
    wire = Wire("a", "b", limits=Limits())
    client, attached_id, node = attached(wire)
    foreign_id = client.open("/acme.Shop/Buy")
    client.send(foreign_id, OPEN)
    wire.settle()
    node.accept(node.latest)
    asking_id = client.open()
    client.send(asking_id, OPEN)
    wire.settle()
    assert wire.pool.asked == [node.name] * 3
    wire.nodes[node.name].remove(node)
    node.connection.node_left()
    next_owner(wire, 0.1)
    for next_node in [peer for peers in wire.nodes.values() for peer in peers]:
        for at_node in list(next_node.streams):
            next_node.accept(at_node)
            next_node.finish(at_node)
    wire.settle()
    assert [client.streams[each].status for each in (attached_id, asking_id, foreign_id)] == ["0", "0", None]
    client.lose()
    node.lose()
    wire.close()


def test_internal_fields_of_a_client_are_not_believed() -> None:
    wire = Wire("a", limits=Limits())
    client = wire.raw_client(opening())
    block = request(CONVERSE, ("x-agentring-after-seq", "9"), ("x-agentring-frames", "4 4"))
    client.send(frames.headers(1, block, end_stream=False) + frames.data(1, OPEN))
    wire.settle()
    fields = wire.node().streams[1].fields
    assert not {"x-agentring-after-seq", "x-agentring-frames"} & fields.keys()
    client.connection.socket_lost()
    wire.close()
