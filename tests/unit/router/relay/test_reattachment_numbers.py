"""Whatever is lost, and when: the client of a call that goes on sees every number once, in order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agentring.http2.frames import Setting
from agentring.http2.limits import Limits
from agentring.rpc.messages import PREFIX, PREFIX_BYTES
from harness.http2 import Wire
from harness.http2_frames import marked
from harness.http2_losses import LOSSES, Loss
from harness.http2_peers import NodePeer
from harness.http2_reattach import OPEN, next_owner
from router.relay.grpc_framing import MARKS
from router.relay.losses import MAX_LOSSES


class EventLog:
    """A node's side of one stream: numbers from after_seq on, as far as it is asked."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent_seq = 0

    def serve(self, node: NodePeer, at_node: int, count: int) -> None:
        """Some more numbers, then the end."""
        if at_node not in node.accepted:
            fields = node.streams[at_node].fields
            self.sent_seq = int(fields.get("x-agentring-after-seq", 0))
            node.accept(at_node)
        for _ in range(count):
            if self.sent_seq < self.size:
                self.sent_seq += 1
                node.send(at_node, marked(self.sent_seq, 1, bytes([self.sent_seq % 256]) * (self.sent_seq % 700)))
        if self.sent_seq == self.size:
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
    event_log = EventLog(60)
    in_a_row, came_to_something = 0, False
    for count, loss in [*fates, (60, None)]:
        node, at_node = next_owner(wire, 1.5)
        if at_node in node.accepted and not node.may_send(at_node):
            node, at_node = next_owner(wire, 1.5)
        node.pieces = lambda data, sizes=tuple(sizes): _cut(data, sizes)  # type: ignore[misc]
        event_log.serve(node, at_node, count)
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
