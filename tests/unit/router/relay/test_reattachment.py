"""A call whose node is lost goes on with the session's next owner, and its client sees one stream."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentring.http2 import frames
from agentring.http2.frames import Code, Setting
from agentring.http2.limits import Limits
from agentring.ids import parse_session
from agentring.rpc.messages import PREFIX, PREFIX_BYTES
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, RUN_TASK, marked, message, opening, request
from harness.http2_losses import DETAILS, LOSSES, MOVED, Loss
from harness.http2_peers import ClientPeer, NodePeer
from router.relay.grpc_framing import MARKS
from router.relay.losses import MAX_LOSSES

lose, drain = (next(loss for loss in LOSSES if loss.cause == cause) for cause in ("connection", "moved"))
OPEN, TURN, CANCEL = message(b"open"), message(b"turn"), message(b"cancel")
EMPTY = message(b"")


def attached(wire: Wire, *, path: str = CONVERSE, said: bytes = OPEN + TURN) -> tuple[ClientPeer, int, NodePeer]:
    """A call that a node has taken and answered once: everything up to 5, the first message acknowledged."""
    client = wire.client()
    stream_id = client.open(path, *((("x-task-key", "k"),) if path == RUN_TASK else ()))
    client.send(stream_id, said)
    wire.settle()
    node = wire.node(wire.pool.asked[-1])
    node.accept(node.latest)
    node.send(node.latest, marked(5, 1, b"first"))
    wire.settle()
    return client, stream_id, node


def next_owner(wire: Wire, seconds: float = 0.0) -> tuple[NodePeer, int]:
    """Where the call was opened again after so long, and its stream there."""
    wire.clock.advance(seconds)
    wire.settle()
    node = wire.node(wire.pool.asked[-1])
    return node, node.latest


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_stream_goes_on_where_it_was(loss: Loss) -> None:
    wire = Wire("a", "b", limits=Limits())
    client, stream_id, node = attached(wire)
    node.send(node.latest, marked(7, 2, b"half")[:20])  # never whole
    wire.settle()
    stream = node.streams[node.latest].told["x-agentring-stream-id"]
    loss(wire, node)
    wire.settle()
    assert not client.streams[stream_id].ended
    again, at_node = next_owner(wire)
    told = again.streams[at_node].told
    assert told["x-agentring-after-seq"] == "5"
    assert told["x-agentring-frames"] == "2 2"
    assert told["x-agentring-stream-id"] == stream
    assert again.streams[at_node].data == EMPTY + TURN
    again.accept(at_node)
    again.send(at_node, marked(6, 2, b"second"))
    client.send(stream_id, CANCEL, end=True)
    wire.settle()
    assert again.streams[at_node].data == EMPTY + TURN + CANCEL
    assert again.streams[at_node].ended
    again.finish(at_node)
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
    again, at_node = next_owner(wire)
    assert again.streams[at_node].data == message(b"the task")
    assert again.streams[at_node].ended
    assert again.streams[at_node].told["x-agentring-frames"] == "1 1"
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
    again, at_node = next_owner(wire)
    assert "x-agentring-after-seq" not in again.streams[at_node].told
    assert again.streams[at_node].told["x-agentring-frames"] == "1 2"
    assert again.streams[at_node].data == OPEN + TURN
    client.reset(stream_id)
    wire.settle()
    wire.close()


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
    again, at_node = next_owner(wire, 2.0)
    again.accept(at_node)
    again.finish(at_node)
    wire.settle()
    assert client.streams[stream_id].status == "0"
    wire.close()


async def test_a_change_of_the_membership_is_no_time_to_wait_on() -> None:
    wire = Wire("a", "b", limits=Limits())
    client, stream_id, node = attached(wire)
    drain(wire, node)
    wire.settle()
    for _ in range(6):
        again, at_node = next_owner(wire, 2.0)
        again.decline(at_node, "14", MOVED, DETAILS)
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
        again, at_node = next_owner(wire, 2.0)
        again.decline(at_node, "14", MOVED, DETAILS)
        wire.settle()
    again, at_node = next_owner(wire, 2.0)
    asked = len(wire.pool.asked)
    await wire.context.registry.membership_changed(wire.view.snapshot)
    assert len(wire.pool.asked) == asked  # never two at once
    again.decline(at_node, "14", MOVED, DETAILS)
    wire.settle()
    again, at_node = next_owner(wire)
    assert len(wire.pool.asked) == asked + 1
    again.accept(at_node)
    again.finish(at_node)
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
    again, at_node = next_owner(wire, 2.5)
    assert len({id(each) for each in (slow, slower, again)}) == 3
    assert slower.streams[at_slower].reset is not None
    asked = len(wire.pool.asked)
    wire.clock.advance(20.0)
    wire.settle()
    assert len(wire.pool.asked) == asked  # there is no other
    again.accept(at_node)
    again.send(at_node, marked(6, 2, b"next"))
    wire.settle()
    assert client.streams[stream_id].data.endswith(marked(6, 2, b"next"))
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
    again, at_node = next_owner(wire)
    again.decline(at_node, "11", ("grpc-message", "too old"), DETAILS)
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
    again, at_node = next_owner(wire, 0.2)
    assert at_node == 3
    assert "x-agentring-frames" not in again.streams[at_node].told
    again.accept(at_node)
    again.finish(at_node)
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
    again, at_node = next_owner(wire, 0.2)
    assert "x-agentring-frames" not in again.streams[at_node].told
    again.accept(at_node)
    again.finish(at_node)
    wire.settle()
    assert client.streams[stream_id].status == "0"
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
    again, at_node = next_owner(wire)
    again.accept(at_node)
    for acked in range(2, 43):
        again.send(at_node, marked(5, acked))
        wire.settle()
    assert again.streams[at_node].data == EMPTY + TURN + message(bytes(60_000)) * 40
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
    for again in [peer for peers in wire.nodes.values() for peer in peers]:
        for at_node in list(again.streams):
            again.accept(at_node)
            again.finish(at_node)
    wire.settle()
    assert [client.streams[each].status for each in (attached_id, asking_id, foreign_id)] == ["0", "0", None]
    client.lose()
    node.lose()
    wire.close()


class Story:
    """A node's side of one stream: numbers from after_seq on, as far as it is asked."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.told = 0

    def serve(self, node: NodePeer, at_node: int, count: int) -> None:
        """Some more numbers, then the end."""
        if at_node not in node.accepted:
            told = node.streams[at_node].told
            self.told = int(told.get("x-agentring-after-seq", 0))
            node.accept(at_node)
        for _ in range(count):
            if self.told < self.size:
                self.told += 1
                node.send(at_node, marked(self.told, 1, bytes([self.told % 256]) * (self.told % 700)))
        if self.told == self.size:
            node.finish(at_node)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(LOSSES)), max_size=12),
    st.lists(st.integers(1, 3_000), min_size=1, max_size=6),
    st.sampled_from([100, 65_535, 1 << 20]),
)
@settings(max_examples=60)
def test_whatever_is_lost_and_when_the_client_is_told_every_number_once(
    fates: list[tuple[int, Loss]], sizes: list[int], window: int
) -> None:
    wire = Wire("a", "b", "c", limits=Limits())
    client = wire.client({Setting.INITIAL_WINDOW_SIZE: window})
    stream_id = client.open()
    client.send(stream_id, OPEN, end=True)
    wire.settle()
    story = Story(60)
    in_a_row, came_to_something = 0, False
    for count, loss in [*fates, (60, None)]:
        node, at_node = next_owner(wire, 1.5)
        if at_node in node.accepted and not node.may_send(at_node):
            node, at_node = next_owner(wire, 1.5)
        node.pieces = lambda data, sizes=tuple(sizes): _cut(data, sizes)  # type: ignore[misc]
        story.serve(node, at_node, count)
        wire.settle()
        if client.streams[stream_id].ended:
            break
        if loss is not None:
            came_to_something = came_to_something or count > 0
            if loss.cause in ("connection", "node_left"):
                in_a_row, came_to_something = 0 if came_to_something else in_a_row + 1, False
            loss(wire, node)
            wire.settle()
            if in_a_row == MAX_LOSSES:
                break
    numbers = _numbers(client.streams[stream_id].data)
    if in_a_row == MAX_LOSSES:
        assert client.streams[stream_id].status == "13"
        assert numbers == list(range(1, len(numbers) + 1))
    else:
        assert client.streams[stream_id].status == "0"
        assert numbers == list(range(1, 61))
    wire.close()


def _numbers(data: bytes) -> list[int]:
    numbers = []
    while data:
        length = PREFIX_BYTES + PREFIX.unpack_from(data)[1]
        numbers.append(MARKS.unpack_from(data)[0])
        data = data[length:]
    return numbers


def _cut(data: bytes, sizes: tuple[int, ...]) -> list[bytes]:
    pieces, index = [], 0
    while data:
        size = sizes[index % len(sizes)]
        pieces.append(data[:size])
        data, index = data[size:], index + 1
    return pieces


def test_internal_fields_of_a_client_are_not_believed() -> None:
    wire = Wire("a", limits=Limits())
    client = wire.raw_client(opening())
    block = request(CONVERSE, ("x-agentring-after-seq", "9"), ("x-agentring-frames", "4 4"))
    client.send(frames.headers(1, block, end_stream=False) + frames.data(1, OPEN))
    wire.settle()
    told = wire.node().streams[1].told
    assert not {"x-agentring-after-seq", "x-agentring-frames"} & told.keys()
    client.connection.socket_lost()
    wire.close()
