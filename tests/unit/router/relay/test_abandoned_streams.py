"""What many clients may do, each within its limits, does not cost the connection to the node that they share."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import RST_STREAM, WINDOW_UPDATE, Code, Setting
from agentring.http2.limits import Limits, Rate
from agentring.rpc.server import LIMITS
from harness.http2 import Wire
from harness.http2_frames import FOREIGN, message, parse, request
from harness.http2_raw import RawClient
from router.relay.node_stream import MAX_BUFFERED_BYTES

CALLS = 12_000
PER_CLIENT = 1_000
IDS = range(1, 2 * PER_CLIENT, 2)
NODES_LIMIT = LIMITS.resets.burst
MANY: dict[int, int] = {Setting.MAX_CONCURRENT_STREAMS: 200_000}


def written(wire: Wire, kind: int) -> int:
    """How many frames of a kind are about to be written to the node."""
    connection = wire.node().connection
    count = sum(each.kind == kind for each in parse(b"".join(connection.out)))
    connection.out.clear()
    return count


def tick(wire: Wire) -> None:
    """A second goes by."""
    wire.clock.advance(1.0)
    wire.node().connection.tick(wire.clock.time())


def opened(wire: Wire, *fields: tuple[str, str]) -> list[RawClient]:
    """Clients with so many calls under way together."""
    wire.add_node("a", MANY)
    block = request(FOREIGN, *fields)
    calls = [frames.headers(each, block, end_stream=False) + frames.data(each, message(b"open")) for each in IDS]
    clients = [wire.raw_client() for _ in range(CALLS // PER_CLIENT)]
    for client in clients:
        client.send(b"".join(calls))
    written(wire, RST_STREAM)
    return clients


@pytest.mark.parametrize("how", ["reset", "lost", "deadline"])
def test_calls_that_end_early_do_not_use_up_what_the_node_allows_the_router(how: str) -> None:
    wire = Wire(limits=Limits(reattach_timeout_s=0, resets=Rate(PER_CLIENT, 1)))
    clients = opened(wire, *([("grpc-timeout", "500m")] if how == "deadline" else []))
    assert len(wire.context.registry.calls) == CALLS
    for client in clients:
        if how == "reset":
            client.send(b"".join(frames.rst_stream(each, Code.CANCEL) for each in IDS))
        elif how == "lost":
            client.connection.socket_lost()
    wire.clock.advance(0.5)
    assert not wire.context.registry.calls
    at_once = written(wire, RST_STREAM)
    assert 0 < at_once <= NODES_LIMIT // 2
    tick(wire)
    tick(wire)
    assert written(wire, RST_STREAM) == 0  # they are not old enough yet
    tick(wire)
    assert at_once + written(wire, RST_STREAM) == CALLS
    assert wire.node().connection.streams == {}
    wire.close()


def test_a_stream_that_was_left_is_over_for_the_call_whatever_the_node_says() -> None:
    wire = Wire()
    wire.add_node("a", MANY)
    node = wire.node()
    while node.connection._early_resets.has_taken(node.connection.now_s):
        pass
    client = wire.client()
    for _ in range(4):
        client.send(client.open(FOREIGN), message(b"open"))
    wire.settle()
    accepts, sends, resets, ends = node.streams
    for stream_id in client.streams:
        client.reset(stream_id)
    wire.settle()
    assert not wire.context.registry.calls
    node.accept(accepts)
    node.accept(sends)
    node.send(sends, message(bytes(100_000)))
    node.reset(resets)
    node.decline(ends, "0")
    wire.settle()
    assert node.unsent_bytes(sends) == 100_005 - 65_535  # as much as had been granted
    assert list(node.connection.streams) == [accepts, sends]
    assert node.connection.ended is None
    for _ in range(3):
        tick(wire)
    wire.settle()
    assert node.connection.streams == {}
    assert node.streams[sends].reset == Code.CANCEL
    wire.close()


@pytest.mark.parametrize("window", [0, 1_000, 65_535, MAX_BUFFERED_BYTES])
def test_a_window_that_opens_byte_by_byte_is_not_opened_so_for_the_node(window: int) -> None:
    wire = Wire()
    client = wire.client({Setting.INITIAL_WINDOW_SIZE: window})
    stream_id = client.open(FOREIGN)
    client.send(stream_id, message(b"open"))
    wire.settle()
    node = wire.node()
    node.accept(node.latest)
    wire.settle()
    for _ in range(5_000):
        client.h2.increment_flow_control_window(1, stream_id)
    client.exchange()
    assert written(wire, WINDOW_UPDATE) <= 1
    client.h2.increment_flow_control_window(300_000, stream_id)
    node.send(node.latest, message(bytes(200_000)))
    wire.settle()
    assert len(client.streams[stream_id].data) == 200_005
    wire.close()
