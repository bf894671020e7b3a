"""Messages that are kept for replay hold their client back, within bounds."""

import pytest

from agentring.http2.frames import Setting
from harness.http2 import Wire
from harness.http2_frames import FOREIGN, marked, message
from harness.http2_opened import accepted

LARGE_WINDOW: dict[int, int] = {Setting.INITIAL_WINDOW_SIZE: 1 << 30}
KIB = 1 << 10


def test_what_is_kept_holds_the_client_back_beyond_1_mib_until_it_is_acknowledged() -> None:
    wire = Wire(node_settings=LARGE_WINDOW)
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client)
    client.send(stream_id, message(bytes(64 * KIB - 5)) * 32)
    wire.settle()
    held = len(node.streams[at_node].data)
    assert 1 << 20 <= held <= (1 << 20) + 64 * KIB
    node.send(at_node, marked(1, 17))
    wire.settle()
    assert len(node.streams[at_node].data) == 9 + (2 << 20)
    wire.close()


@pytest.mark.parametrize("path", ["/grpc.health.v1.Health/Watch", FOREIGN])
def test_what_cannot_be_kept_flows_to_the_node_that_has_not_answered(path: str) -> None:
    wire = Wire(node_settings=LARGE_WINDOW)
    client = wire.client()
    stream_id = client.open(path)
    client.send(stream_id, message(bytes(64 * KIB - 5)) * 32)
    wire.settle()
    node = wire.node("own" if path.startswith("/grpc.") else "a")
    assert len(node.streams[1].data) == 2 << 20
    assert wire.budget.used_bytes == 0
    node.accept(1)
    wire.settle()
    client.send(stream_id, message(b"more"))
    wire.settle()
    assert node.streams[1].data.endswith(message(b"more"))
    wire.close()


def test_what_is_kept_holds_the_client_back_until_there_is_a_node() -> None:
    wire = Wire(node_settings=LARGE_WINDOW)
    wire.pool.held.add("a")
    client = wire.client()
    stream_id = client.open(FOREIGN)
    client.send(stream_id, message(bytes(64 * KIB - 5)) * 32)
    wire.settle()
    assert client.unsent_bytes(stream_id) >= (1 << 20) - 64 * KIB
    wire.pool.release("a", connected=True)
    wire.settle()
    assert len(wire.node().streams[1].data) == 2 << 20
    wire.close()
