"""What a client may do: each limit ends the connection with the reason it is counted under, and not before."""

import pytest

from agentring.http2 import frames
from agentring.http2.control_frames import FREE_UPDATES
from agentring.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PRIORITY,
    Code,
)
from agentring.http2.hpack import literal
from agentring.http2.limits import Limits, Rate
from harness.http2 import Wire
from harness.http2_frames import frame, goaways, marked, message, request, resets
from harness.http2_raw import feed

PING = frames.ping(bytes(8), ack=False)
OPEN = frames.headers(1, request(), end_stream=False)
FEW = Rate(20, 10)
LIMITS = Limits(pings=FEW, settings=FEW, resets=FEW, idle_frames=FEW, max_streams=5, max_continuations=3)


def reset_streams(first: int, count: int) -> list[bytes]:
    ids = range(first, first + 2 * count, 2)
    return [frames.headers(each, request(), end_stream=False) + frames.rst_stream(each, Code.CANCEL) for each in ids]


def faulty_streams(first: int, count: int) -> list[bytes]:
    ids = range(first, first + 2 * count, 2)
    return [frames.headers(each, request(), end_stream=False) + frame(PRIORITY, 0, each, bytes(4)) for each in ids]


SENT: dict[str, list[bytes]] = {
    "pings": [PING] * 22,
    "settings": [frames.settings({})] * 22,
    "resets": reset_streams(3, 22),
}
IDLE = [
    frame(PRIORITY, 0, 99, bytes(5)),
    frame(0xAA),
    frame(DATA, 0, 1),
    frame(DATA, frames.PADDED, 1, b"\x05" + bytes(5)),
    frames.window_update(0, 1),
    frames.window_update(1, 1),
    frames.ping(bytes(8), ack=True),
]


@pytest.mark.parametrize("what", SENT)
def test_a_flood_ends_the_connection_where_the_limit_is(what: str) -> None:
    wire = Wire(limits=LIMITS)
    client = wire.raw_client()
    client.send(OPEN)
    for each in SENT[what][:20]:
        assert goaways(client.send(each)) == []
    assert goaways(client.send(SENT[what][20])) == [(Code.ENHANCE_YOUR_CALM, f"too many {what}")]
    assert client.connection.broken_for == what
    wire.close()


@pytest.mark.parametrize("idle", IDLE)
def test_frames_without_purpose_are_a_flood_too(idle: bytes) -> None:
    wire = Wire(limits=LIMITS)
    client = wire.raw_client()
    client.send(OPEN)
    if idle[3] == frames.WINDOW_UPDATE:
        client.send(idle * FREE_UPDATES)
    assert goaways(client.send(idle * 20)) == []
    assert goaways(client.send(idle)) == [(Code.ENHANCE_YOUR_CALM, "too many idle frames")]
    wire.close()


def test_frames_for_streams_that_have_ended_are_counted() -> None:
    wire = Wire(limits=LIMITS)
    client = wire.raw_client()
    client.open(1, "/nobody.Knows/This", session=None)
    client.send(frames.data(1, message(b"")))
    assert goaways(client.send(frames.data(1, b"x") * 20)) == []
    assert goaways(client.send(frames.data(1, b"x"))) == [(Code.ENHANCE_YOUR_CALM, "too many idle frames")]


def test_streams_that_a_client_makes_us_reset_are_counted_as_its_own_resets() -> None:
    wire = Wire(limits=LIMITS)
    client = wire.raw_client()
    assert goaways(client.send(*faulty_streams(1, 20))) == []
    assert [why for _, why in goaways(client.send(*faulty_streams(41, 1)))] == ["too many resets"]
    wire.close()


@pytest.mark.parametrize("what", SENT)
def test_what_comes_at_the_rate_goes_on_for_ever(what: str) -> None:
    wire = Wire(limits=LIMITS)
    client = wire.raw_client()
    sent = reset_streams(3, 300) if what == "resets" else SENT[what][:1] * 300
    for each in sent:
        wire.clock.advance(0.1)
        assert goaways(client.send(each)) == []
    client.connection.socket_lost()
    wire.close()


def test_pings_that_follow_data_are_free() -> None:
    """Clients measure the network so."""
    wire = Wire(limits=LIMITS)
    client = wire.raw_client()
    client.send(OPEN + frames.data(1, message(b"")))
    wire.settle()
    node = wire.node()
    node.accept(1)
    for seq in range(200):
        node.send(1, marked(seq, 1))
        wire.settle()
        assert goaways(client.send(PING)) == []
    client.connection.socket_lost()
    wire.close()


def test_window_updates_for_what_was_sent_are_free() -> None:
    wire = Wire(limits=LIMITS)
    client = wire.raw_client()
    client.send(OPEN + frames.data(1, message(b"")))
    wire.settle()
    node = wire.node()
    node.accept(1)
    for seq in range(200):
        answer = marked(seq, 1)
        node.send(1, answer)
        wire.settle()
        updates = frames.window_update(0, len(answer)) + frames.window_update(1, len(answer))
        assert goaways(client.send(updates)) == []
    client.connection.socket_lost()
    wire.close()


def test_a_client_that_makes_us_answer_and_does_not_read_is_ended() -> None:
    client = Wire(limits=Limits(pings=Rate(1 << 20, 0))).raw_client()
    feed(client.connection, PING * 1_000, client.clock.time())
    assert client.connection.ended is None
    feed(client.connection, PING, client.clock.time())
    assert client.connection.broken_for == "unread replies"


def test_streams_beyond_the_limit_are_refused_and_no_fault() -> None:
    wire = Wire(limits=LIMITS)
    client = wire.raw_client()
    for stream_id in (1, 3, 5, 7, 9):
        assert resets(client.open(stream_id)) == []
    assert resets(client.open(11)) == [(11, Code.REFUSED_STREAM)]
    assert wire.context.stats.streams_refused == 1
    client.send(frames.rst_stream(3, Code.CANCEL))
    assert resets(client.open(13)) == []
    assert len(wire.context.registry.calls) == 5
    client.connection.socket_lost()
    wire.close()


def continued(pieces: list[bytes]) -> bytes:
    last = len(pieces) - 1
    kinds = [HEADERS] + [CONTINUATION] * last
    flags = [END_HEADERS if index == last else 0 for index in range(last + 1)]
    return b"".join(frame(kind, flag, 1, each) for kind, flag, each in zip(kinds, flags, pieces, strict=True))


def test_more_continuations_than_the_limit_end_the_connection() -> None:
    block = request()
    wire = Wire(limits=LIMITS)
    client = wire.raw_client()
    assert goaways(client.send(continued([block[:9], block[9:20], b"", block[20:]]))) == []
    client.connection.socket_lost()
    other = wire.raw_client()
    assert goaways(other.send(continued([block[:9], block[9:20], b"", b"", block[20:]]))) == [
        (Code.ENHANCE_YOUR_CALM, "too many continuations")
    ]
    wire.close()


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_header_block_beyond_the_limit_is_dropped_as_it_comes(dynamic: bool) -> None:
    """And explained, at once only to a client whose next block can still be read."""
    wire = Wire(limits=Limits(max_header_block_bytes=20_000))
    client = wire.raw_client()
    if not dynamic:
        client.open(1)
    large = request() + literal("x-large", "v" * 30_000)
    found = client.send(frames.headers(3, large, end_stream=False))
    if dynamic:
        assert goaways(found) == [(Code.ENHANCE_YOUR_CALM, "too many header bytes")]
        assert HEADERS in [each.kind for each in found]
    else:
        assert found == []
        found = client.send(frames.data(3, message(b""), end_stream=True))
        assert [each.kind for each in found if each.stream_id == 3] == [HEADERS, frames.RST_STREAM]
        assert resets(found) == [(3, Code.NO_ERROR)]
        assert wire.context.stats.errors["METADATA_TOO_LARGE"] == 1
        client.connection.socket_lost()
    wire.close()


def test_what_one_read_brings_is_worked_off_in_parts() -> None:
    wire = Wire()
    client = wire.raw_client()
    opens = b"".join(frames.headers(stream_id, request(), end_stream=False) for stream_id in range(1, 129, 2))
    client.connection.receive(opens + PING[:5], client.clock.time())
    assert client.connection.behind
    assert len(wire.context.registry.calls) == 32
    client.connection.receive(b"", client.clock.time())
    assert len(wire.context.registry.calls) == 64
    client.connection.receive(PING[5:], client.clock.time())
    behind_after: bool = client.connection.behind
    assert not behind_after
    assert client.read()[-1].kind == frames.PING
    client.connection.socket_lost()
    wire.close()
