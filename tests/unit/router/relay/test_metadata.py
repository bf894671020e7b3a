"""What passes between client and node as header fields, and what does not."""

import pytest

from agentring.http2 import frames
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, message


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
def test_internal_fields_of_a_client_do_not_reach_the_node(path: str) -> None:
    wire = Wire()
    client = wire.client()
    forged = tuple(
        (f"x-agentring-{name}", "forged") for name in ("stream-id", "node", "epoch", "redirect", "refused", "after-seq")
    )
    client.open(path, *forged, ("x-mine", "kept"))
    wire.settle()
    fields = wire.node().streams[1].headers
    assert "forged" not in [value for _, value in fields]
    assert ("x-mine", "kept") in fields
    assert sum(name == "x-agentring-stream-id" for name, _ in fields) == 1
    client.lose()
    wire.close()


@pytest.mark.parametrize("before_headers", [False, True])
def test_fields_between_nodes_and_routers_do_not_reach_the_client(before_headers: bool) -> None:
    wire = Wire()
    client = wire.client()
    client.open()
    client.send(1, message(b""), end=True)
    wire.settle()
    node = wire.node()
    internal = (("x-agentring-redirect", "b"), ("x-agentring-refused", "no"), ("x-agentring-stream-id", "1"))
    if before_headers:
        node.accept(1, *internal, ("x-mine", "kept"))
        node.finish(1)
    else:
        node.accept(1)
        node.finish(1, "0", *internal, ("x-mine", "kept"))
    wire.settle()
    fields = client.streams[1].fields
    assert not {name for name, _ in internal} & fields.keys()
    assert fields["x-mine"] == "kept"
    wire.close()


def test_a_client_is_told_node_epoch_and_ring() -> None:
    wire = Wire()
    client = wire.client()
    client.open()
    client.send(1, message(b""))
    wire.settle()
    wire.node().accept(1)
    wire.settle()
    fields = client.streams[1].fields
    names = ("x-agentring-node", "x-agentring-epoch", "x-agentring-ring")
    assert tuple(fields[name] for name in names) == ("a", "7", "1")
    client.lose()
    wire.close()


def test_a_node_is_sent_routing_fields_once() -> None:
    wire = Wire()
    client = wire.client()
    client.open(CONVERSE, ("x-session-id", "two"), ("x-tenant-id", "t"), ("x-tenant-id", "u"), session="one")
    wire.settle()
    fields = [pair for pair in wire.node().streams[1].headers if pair[0] in ("x-session-id", "x-tenant-id")]
    assert sorted(fields) == [("x-session-id", "two"), ("x-tenant-id", "u")]
    client.lose()
    wire.close()


def test_clients_that_use_a_dynamic_table_are_read_before_and_after_they_give_it_up() -> None:
    wire = Wire()
    client = wire.client()
    for index in range(4):
        client.open(CONVERSE, ("x-mine", "the same each time"), ("x-other", str(index)))
        wire.settle()
    streams = wire.node().streams
    assert [streams[1 + 2 * index].fields["x-other"] for index in range(4)] == ["0", "1", "2", "3"]
    assert {heard.fields["x-mine"] for heard in streams.values()} == {"the same each time"}
    client.lose()
    wire.close()


def test_metadata_beyond_8_kib_are_refused_with_a_reason() -> None:
    wire = Wire()
    client = wire.client()
    client.open(CONVERSE, ("x-big", "v" * 9_000))
    client.send(1, message(b""))
    wire.settle()
    assert client.streams[1].status == "8"
    assert wire.context.stats.errors["METADATA_TOO_LARGE"] == 1
    assert wire.pool.asked == []
    wire.close()


def test_metadata_beyond_64_kib_are_refused_once_the_client_has_given_its_table_up() -> None:
    wire = Wire()
    client = wire.client()
    client.open()
    wire.settle()
    client.open(CONVERSE, ("x-big", "\x7e" * 70_000))
    client.send(3, message(b""))
    wire.settle()
    assert client.streams[3].status == "8"
    assert client.goaway is None
    client.open()
    wire.settle()
    assert len(wire.node().streams) == 2
    client.lose()
    wire.close()


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x00\x07:status\x03103",
        b"\x00\x0bgrpc-status\x010",
        b"\x00\x05:path\x01/\x00\x07:status\x03200",
    ],
)
def test_what_is_no_answer_of_http_does_not_reach_the_client(block: bytes) -> None:
    """The h2 client would raise."""
    wire = Wire()
    client = wire.client()
    client.open()
    client.send(1, message(b""), end=True)
    wire.settle()
    wire.node().connection.receive(frames.headers(1, block, end_stream=True), wire.clock.time())
    wire.settle()
    assert client.streams[1].sentence == "the node's answer is not what HTTP/2 and gRPC allow"
    assert wire.pool.asked == ["a"]
    client.lose()
    wire.close()
