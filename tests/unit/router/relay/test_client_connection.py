"""A client's connection from its SETTINGS to the end of a drain."""

from agentring.http2 import frames
from agentring.http2.frames import ACK, GOAWAY, HEADERS, PING, SETTINGS, Code, Setting
from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_frames import Frame, frame, goaways, message, parse, request, resets

BATON = frames.ping(b"draining", ack=True)


def settings_of(found: list[Frame]) -> list[dict[int, int]]:
    own = [each for each in found if each.kind == SETTINGS and not each.flags & ACK]
    return [dict(frames.SETTING.iter_unpack(each.payload)) for each in own]


def last_streams(found: list[Frame]) -> list[int]:
    return [frames.TWO_WORDS.unpack_from(each.payload)[0] for each in found if each.kind == GOAWAY]


def test_its_settings_come_at_once_and_the_table_is_given_up_with_the_first_call() -> None:
    wire = Wire(limits=Limits(max_streams=77))
    client = wire.raw_client(b"")
    fresh = wire.raw_client(b"").connection
    assert fresh.out == []
    peer = wire.client()
    assert peer.h2.remote_settings.max_concurrent_streams == 77
    assert peer.h2.remote_settings.initial_window_size == 65_536
    client.send(frames.PREFACE + frames.settings({}) + frames.SETTINGS_ACK)
    first = client.send(frames.headers(1, request(), end_stream=False))
    assert settings_of(first) == [{Setting.HEADER_TABLE_SIZE: 0}]
    client.send(frames.SETTINGS_ACK)
    assert settings_of(client.send(frames.headers(3, request(), end_stream=False))) == []
    client.connection.socket_lost()
    wire.close()


def test_a_drain_serves_what_the_client_has_opened_before_it_knew() -> None:
    wire = Wire()
    client = wire.raw_client()
    client.open(1)
    client.connection.drain()
    found = client.read()
    assert [each.kind for each in found] == [GOAWAY, PING]
    assert last_streams(found) == [frames.MAX_STREAM_ID]
    client.open(3)
    assert len(wire.context.registry.calls) == 2
    assert last_streams(client.send(BATON)) == [3]
    assert resets(client.open(5)) == [(5, Code.REFUSED_STREAM)]
    ended = []
    for stream_id in (1, 3):
        client.send(frames.rst_stream(stream_id, Code.CANCEL))
        ended.append(client.connection.ended)
    assert ended == [None, Code.NO_ERROR]
    wire.close()


def test_a_drain_without_a_call_ends_as_soon_as_the_client_knows() -> None:
    client = Wire().raw_client()
    client.connection.drain()
    client.send(BATON)
    assert client.connection.ended == Code.NO_ERROR


def test_the_last_answer_of_a_drain_is_still_written() -> None:
    wire = Wire()
    client = wire.raw_client()
    client.open(1, "/nobody.Knows/This", session=None)
    client.connection.drain()
    client.send(BATON)
    client.send(frames.data(1, message(b""), end_stream=True))
    assert client.connection.ended == Code.NO_ERROR
    wire.close()


def test_a_lost_socket_is_the_end_of_all() -> None:
    wire = Wire()
    client = wire.raw_client()
    client.open(1)
    client.connection.socket_lost()
    assert (client.connection.out, client.connection.ended) == ([], Code.NO_ERROR)
    wire.close()


def test_nothing_is_written_after_goaway() -> None:
    wire = Wire()
    client = wire.raw_client()
    client.open(1)
    found = client.send(frame(frames.DATA, 0, 0, b"x"))
    assert goaways(found)
    assert found[-1].kind == GOAWAY
    wire.settle()
    wire.clock.advance(100.0)
    client.connection.drain()
    assert list(parse(b"".join(client.connection.out))) == []


def test_a_clients_goaway_takes_nothing_from_its_calls() -> None:
    wire = Wire()
    client = wire.raw_client()
    client.open(1)
    client.send(frames.goaway(0, Code.NO_ERROR))
    client.send(frames.data(1, message(b"x"), end_stream=True))
    wire.settle()
    node = wire.node()
    assert node.streams[1].data == message(b"x")
    node.accept(1)
    node.finish(1)
    wire.settle()
    assert [each.kind for each in client.read()] == [HEADERS, HEADERS]
    wire.close()


def test_a_malformed_field_costs_its_stream_and_what_follows_on_it_is_no_fault() -> None:
    wire = Wire()
    client = wire.raw_client()
    client.open(1)
    bad = request() + b"\x00\x05X-Bad\x011"
    assert resets(client.send(frames.headers(3, bad, end_stream=False))) == [(3, Code.PROTOCOL_ERROR)]
    assert goaways(client.send(frames.data(3, message(b"on its way"), end_stream=True))) == []
    assert len(wire.context.registry.calls) == 1
    client.connection.socket_lost()
    wire.close()


def test_a_stream_that_depends_on_itself_is_not_opened_by_its_continuation() -> None:
    wire = Wire()
    client = wire.raw_client()
    payload = frames.WORD.pack(1) + b"\0" + request()
    found = client.send(
        frame(HEADERS, frames.WITH_PRIORITY, 1, payload) + frame(frames.CONTINUATION, frames.END_HEADERS, 1)
    )
    assert resets(found) == [(1, Code.PROTOCOL_ERROR)]
    assert not wire.context.registry.calls
    wire.close()
