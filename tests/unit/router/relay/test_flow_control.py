"""Credit, in both directions: what a sender may send is what the other side takes, and nothing waits for ever."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import Setting
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, granted, marked, message
from harness.http2_opened import accepted
from router.relay.node_stream import MAX_BUFFERED_BYTES

NO_WINDOW: dict[int, int] = {Setting.INITIAL_WINDOW_SIZE: 0}
LARGE_WINDOW: dict[int, int] = {Setting.INITIAL_WINDOW_SIZE: 1 << 30}
KIB = 1 << 10


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
@pytest.mark.parametrize("window", [0, 1, 100, 65_535, 1 << 20])
def test_an_answer_of_any_size_reaches_a_client_of_any_window(path: str, window: int) -> None:
    wire = Wire()
    client = wire.client({Setting.INITIAL_WINDOW_SIZE: window})
    stream_id, node, at_node = accepted(wire, client, path)
    if not window:
        client.h2.increment_flow_control_window(1, stream_id)
    responses = [marked(1, 1, bytes(300_000)), marked(2, 1, b"x"), marked(3, 1, bytes(range(256)) * 400)]
    if window < 1000:
        responses = [marked(1, 1, b"abc" * 100), marked(2, 1, b"x" * 100)]
    node.send(at_node, b"".join(responses))
    node.finish(at_node)
    wire.settle()
    assert client.streams[stream_id].data == b"".join(responses)
    assert client.streams[stream_id].status == "0"
    wire.close()


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
@pytest.mark.parametrize("window", [1, 100, 65_535, 1 << 20])
def test_a_request_of_any_size_reaches_a_node_of_any_window(path: str, window: int) -> None:
    wire = Wire(node_settings={Setting.INITIAL_WINDOW_SIZE: window})
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client, path)
    body = message(bytes(range(256)) * (1_000 if window > 1_000 else 10))
    client.send(stream_id, body * 3, end=True)
    wire.settle()
    assert node.streams[at_node].data == message(b"open") + body * 3
    assert node.streams[at_node].ended
    client.reset(stream_id)
    wire.settle()
    wire.close()


def test_a_client_that_does_not_read_holds_its_node_back() -> None:
    wire = Wire()
    client = wire.client()
    client.reads = False
    stream_id, node, at_node = accepted(wire, client, FOREIGN)
    node.send(at_node, bytes(1 << 20))
    wire.settle()
    client_stream, node_stream = client.connection.streams[stream_id], node.connection.streams[at_node]
    assert len(client.streams[stream_id].data) == 65_535
    assert client_stream.queued_bytes == wire.budget.used_bytes <= MAX_BUFFERED_BYTES
    assert node_stream.granted + client_stream.queued_bytes <= MAX_BUFFERED_BYTES
    stuck_bytes = node.unsent_bytes(at_node)
    assert stuck_bytes >= (1 << 20) - 65_535 - MAX_BUFFERED_BYTES
    client.credit(stream_id)
    wire.settle()
    assert node.unsent_bytes(at_node) == stuck_bytes - 65_535
    client.reads = True
    client.credit(stream_id)
    wire.settle()
    assert len(client.streams[stream_id].data) == 1 << 20
    wire.close()


def test_a_client_with_a_huge_window_is_not_buffered_for_beyond_256_kib() -> None:
    wire = Wire()
    client = wire.client(LARGE_WINDOW)
    stream_id, node, at_node = accepted(wire, client, FOREIGN)
    client.connection.pause()  # the socket takes nothing
    node.send(at_node, bytes(1 << 20))
    wire.settle()
    assert client.connection.streams[stream_id].queued_bytes == MAX_BUFFERED_BYTES
    client.connection.resume()
    wire.settle()
    assert len(client.streams[stream_id].data) == 1 << 20
    wire.close()


def test_a_node_that_does_not_read_holds_its_client_back() -> None:
    wire = Wire(node_settings=NO_WINDOW)
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client, FOREIGN)
    client.send(stream_id, message(bytes(1 << 20)))
    wire.settle()
    assert node.connection.streams[at_node].queued_bytes == 64 * KIB
    assert wire.budget.used_bytes <= 2 * 64 * KIB  # the message that has begun is known, too
    assert client.unsent_bytes(stream_id) == (1 << 20) + 5 - (64 * KIB - 9)
    node.h2.increment_flow_control_window(9 + (1 << 20) + 5, at_node)
    wire.settle()
    assert node.streams[at_node].data == message(b"open") + message(bytes(1 << 20))
    wire.close()


def test_windows_that_shrink_below_what_was_sent_open_again() -> None:
    wire = Wire()
    client = wire.client()
    client.reads = False
    stream_id, node, at_node = accepted(wire, client)
    node.send(at_node, marked(1, 1, bytes(50_000)))
    wire.settle()
    client.h2.update_settings({Setting.INITIAL_WINDOW_SIZE: 10})
    wire.settle()
    assert client.connection.streams[stream_id].window == 10 - 50_000 - len(marked(1, 1))
    answer = marked(2, 1, b"later")
    node.send(at_node, answer)
    wire.settle()
    assert not client.streams[stream_id].data.endswith(answer)
    client.h2.update_settings({Setting.INITIAL_WINDOW_SIZE: 100_000})
    wire.settle()
    assert client.streams[stream_id].data.endswith(answer)
    wire.close()


def test_a_nodes_settings_in_mid_connection_hold_for_the_streams_that_are_open() -> None:
    wire = Wire()
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client, FOREIGN)
    node.reads = False
    node.h2.update_settings({Setting.INITIAL_WINDOW_SIZE: 9})
    wire.settle()
    client.send(stream_id, message(b"12345"))
    wire.settle()
    assert node.streams[at_node].data == message(b"open")
    node.h2.update_settings({Setting.INITIAL_WINDOW_SIZE: 19})
    wire.settle()
    assert node.streams[at_node].data == message(b"open") + message(b"12345")
    wire.close()


def test_a_stream_that_is_stuck_holds_no_other_back() -> None:
    wire = Wire()
    client = wire.client()
    stuck, node, at_node = accepted(wire, client)
    client.connection.streams[stuck].add_window(-65_535)  # as if SETTINGS had taken it
    node.send(at_node, marked(1, 1, bytes(60_000)))
    wire.settle()
    assert client.connection.streams[stuck].queued_bytes > 60_000
    other, node, at_node = accepted(wire, client)
    node.send(at_node, marked(1, 1, bytes(500_000)))
    node.finish(at_node)
    wire.settle()
    assert client.streams[other].status == "0"
    wire.close()


def test_streams_that_the_connection_holds_back_take_turns_of_one_frame() -> None:
    wire = Wire()
    client = wire.client(LARGE_WINDOW)
    calls = [accepted(wire, client, FOREIGN) for _ in range(3)]
    client.connection.pause()
    for _, node, at_node in calls:
        node.send(at_node, bytes(40_000))
    wire.settle()
    client.connection.resume()
    out = b"".join(client.connection.out)
    order = []
    while out:
        head, _, stream_id = frames.HEAD.unpack_from(out)
        if head & 0xFF == frames.DATA:
            order.append(stream_id)
        out = out[9 + (head >> 8) :]
    streams = [stream_id for stream_id, _, _ in calls]
    assert order[:9] == streams * 3
    wire.settle()
    assert [len(client.streams[stream_id].data) for stream_id in streams] == [40_000] * 3
    wire.close()


def test_all_that_waits_goes_out_in_parts_that_a_socket_takes() -> None:
    """Or a client that is slow but reads would seem to be one that makes us answer and does not."""
    wire = Wire()
    client = wire.client(LARGE_WINDOW)
    client.h2.increment_flow_control_window(1 << 30)
    calls = [accepted(wire, client, FOREIGN) for _ in range(20)]
    client.connection.pause()
    for _, node, at_node in calls:
        node.send(at_node, bytes(200_000))
    wire.settle()
    client.connection.resume()
    parts = []
    while client.connection.out:
        parts.append(b"".join(client.connection.out))
        client.connection.out.clear()
        client.connection.sent()
    assert all(len(part) < 300_000 for part in parts)
    assert sum(map(len, parts)) > 20 * 200_000
    client.connection.socket_lost()
    wire.close()


def test_a_shut_window_of_one_clients_connection_stops_no_other_client() -> None:
    wire = Wire()
    shut = wire.raw_client()
    shut.open(1)
    shut.send(frames.data(1, message(b"open")), frames.window_update(1, 1 << 20))
    wire.settle()
    node = wire.node()
    node.accept(1)
    node.send(1, marked(1, 0, bytes(100_000)))
    wire.settle()
    assert shut.connection.send_window == 0
    client = wire.client()
    stream_id, node, at_node = accepted(wire, client)
    node.send(at_node, marked(1, 1, bytes(2 << 20)))
    wire.settle()
    assert len(client.streams[stream_id].data) == len(marked(1, 1)) + (2 << 20)
    shut.connection.socket_lost()
    wire.close()


def test_padding_is_given_back_at_once() -> None:
    wire = Wire(node_settings=NO_WINDOW)
    client = wire.raw_client()
    client.open(1)
    padded = message(b"") + bytes(100)
    found = client.send(frames.HEAD.pack((len(padded) + 1) << 8, frames.PADDED, 1) + b"\x64" + padded)
    assert granted(found, 1) == 101
    assert client.connection.streams[1].granted == 64 * KIB - 5
    client.connection.socket_lost()
    wire.close()


def test_a_message_that_has_begun_is_granted_even_to_a_client_that_takes_nothing() -> None:
    """One larger than the client's window would never be whole otherwise; the rest waits within bounds."""
    wire = Wire()
    client = wire.client(NO_WINDOW)
    client.reads = False
    stream_id, node, at_node = accepted(wire, client)
    node.send(at_node, marked(1, 1, bytes(500_000)) + marked(2, 1, bytes(500_000)))
    wire.settle()
    queued_bytes = client.connection.streams[stream_id].queued_bytes
    assert queued_bytes == len(marked(1, 1, bytes(500_000)))
    assert node.unsent_bytes(at_node) >= 500_000 - 16_384
    assert wire.budget.used_bytes <= queued_bytes + 16_384
    client.h2.increment_flow_control_window(queued_bytes, stream_id)
    wire.settle()
    assert client.streams[stream_id].data == marked(1, 1, bytes(500_000))
    wire.close()
