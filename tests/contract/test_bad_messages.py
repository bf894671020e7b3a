"""Messages and metadata that are no messages, or too much: refused with a reason, and the server serves on."""

import asyncio
import math
import struct
import uuid

import grpc
import pytest
from google.protobuf.message import Message
from grpc import aio

from agentring.errors import (
    FirstFrameNotOpen,
    MalformedRequest,
    MessageTooLarge,
    MetadataTooLarge,
    RouteMissing,
)
from agentring.v1 import session_pb2, task_pb2
from harness.agents import nested
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster
from harness.raw import (
    CLUSTER,
    SESSIONS,
    TASKS,
    assert_is,
    assert_refused,
    assert_stream_refused,
    converse,
    exchange,
    status_of,
)
from harness.streams import Conversation

KiB, MiB = 1 << 10, 1 << 20

STREAMS = (SESSIONS + "Converse",)
ONE_REQUEST = (
    *(
        SESSIONS + name
        for name in ("RunTurn", "SubmitTurn", "CancelTurn", "WatchSession", "GetSession", "CloseSession")
    ),
    *(TASKS + name for name in ("RunTask", "GetTask", "WatchTask", "CancelTask")),
)
EVERY_METHOD = STREAMS + ONE_REQUEST

HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    size, length = len(value), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((number << 3 | 2, *length, size)) + value


def _deep(depth: int) -> bytes:
    """A google.protobuf.Struct with Structs nested in it, so many: deeper than any library would build."""
    outermost = b""
    for _ in range(depth):
        outermost = _field(1, _field(1, b"d") + _field(2, _field(5, outermost)))
    return outermost


def _number(value: float) -> bytes:
    """A google.protobuf.Struct with one number."""
    return _field(1, _field(1, b"rate") + _field(2, b"\x11" + struct.pack("<d", value)))


def _run_turn(name: str, input_bytes: bytes) -> bytes:
    """RunTurnRequest{session_id, agent, turn{turn_id, input}}."""
    turn_bytes = _field(1, b"some-turn") + _field(2, input_bytes)
    return _field(1, name.encode()) + _field(2, b"echo") + _field(3, turn_bytes)


def _run_task(name: str, input_bytes: bytes) -> bytes:
    """RunTaskRequest{task_key, agent, input}."""
    return _field(1, name.encode()) + _field(2, b"echo") + _field(3, input_bytes)


def _opening_and_turn(name: str, input_bytes: bytes) -> list[bytes]:
    """ConverseRequest{open{session_id, agent}}, ConverseRequest{turn{turn_id, input}}."""
    opening = _field(1, _field(1, name.encode()) + _field(2, b"echo"))
    return [opening, _field(2, _field(1, b"some-turn") + _field(2, input_bytes))]


BAD_INPUTS = {
    "garbage": b"\xff\xff\xff",
    "invalid UTF-8": _field(1, b"\xff\xfe"),
    "depth 150": _field(2, _deep(150)),
    "not a number": _field(2, _number(math.nan)),
    "infinity": _field(2, _number(math.inf)),
}


@pytest.mark.parametrize("method", [*EVERY_METHOD, HEALTH, REFLECTION])
async def test_garbage_is_malformed(channel: aio.Channel, method: str) -> None:
    for garbage in (b"\xff\xff\xff", b"\x00", b"\x0a\x05ab", _field(1, b"\xff\xfe"), bytes(range(256))):
        await assert_refused(exchange(channel, method, garbage), MalformedRequest())


@pytest.mark.parametrize("method", ["LocateSession", "GetRing"])
async def test_garbage_for_the_routers_own_service_is_malformed(routed: aio.Channel, method: str) -> None:
    await assert_refused(exchange(routed, CLUSTER + method, b"\xff\xff\xff"), MalformedRequest())


@pytest.mark.parametrize("method", EVERY_METHOD)
async def test_garbage_with_a_route_in_the_metadata_is_malformed(channel: aio.Channel, name: str, method: str) -> None:
    route = (("x-task-key" if method.startswith(TASKS) else "x-session-id", name), ("x-agent", "echo"))
    await assert_refused(exchange(channel, method, b"\xff\xff\xff", metadata=route), MalformedRequest())


@pytest.mark.parametrize("what", BAD_INPUTS)
async def test_a_bad_input_inside_of_a_request_is_malformed(channel: aio.Channel, name: str, what: str) -> None:
    bad = BAD_INPUTS[what]
    await assert_refused(exchange(channel, SESSIONS + "RunTurn", _run_turn(name, bad)), MalformedRequest())
    await assert_refused(exchange(channel, SESSIONS + "SubmitTurn", _run_turn(name, bad)), MalformedRequest())
    await assert_refused(exchange(channel, TASKS + "RunTask", _run_task(name, bad)), MalformedRequest())
    frames = _opening_and_turn(name, bad)
    await assert_stream_refused(channel, frames, MalformedRequest())


async def test_an_input_as_deep_as_messages_can_be_is_served(channel: aio.Channel, name: str) -> None:
    sent = turn("fine")
    sent.input.data.update(nested(30))
    received = await run_turn(channel, name, sent, agent="faulty")
    assert received.result == {"turns": 1}


@pytest.mark.parametrize("method", EVERY_METHOD)
async def test_no_message_at_all_is_refused(channel: aio.Channel, name: str, method: str) -> None:
    route = (("x-task-key" if method.startswith(TASKS) else "x-session-id", name), ("x-agent", "echo"))
    expected = FirstFrameNotOpen() if method in STREAMS else MalformedRequest()
    await assert_refused(converse(channel, [], method=method, metadata=route), expected)


@pytest.mark.parametrize("method", ONE_REQUEST)
async def test_a_message_that_names_nothing_is_refused(channel: aio.Channel, method: str) -> None:
    await assert_refused(exchange(channel, method, b""), RouteMissing())


@pytest.mark.parametrize("method", ["RunTurn", "SubmitTurn"])
async def test_a_request_without_its_turn_is_malformed(channel: aio.Channel, name: str, method: str) -> None:
    request = session_pb2.RunTurnRequest(session_id=name, agent="echo")
    await assert_refused(exchange(channel, SESSIONS + method, request), MalformedRequest())


async def test_an_empty_frame_ends_the_stream(channel: aio.Channel, name: str) -> None:
    opening = session_pb2.ConverseRequest(open=session_pb2.Open(session_id=name, agent="echo"))
    await assert_stream_refused(channel, [opening, b""], MalformedRequest())


def _sized(session_id: str, size_bytes: int) -> session_pb2.RunTurnRequest:
    request = session_pb2.RunTurnRequest(session_id=session_id, agent="echo", turn=turn("x"))
    request.turn.input.text = "x" * (size_bytes - request.ByteSize() - 8)
    request.turn.input.text += "x" * (size_bytes - request.ByteSize())
    assert request.ByteSize() == size_bytes
    return request


async def test_a_message_of_exactly_1_mib_is_served(channel: aio.Channel, name: str) -> None:
    request = _sized(name, MiB)
    received = await run_turn(channel, name, request.turn)
    assert received.events[-1].turn_completed.text_bytes == len(request.turn.input.text)


@pytest.mark.parametrize("size_bytes", [MiB + 1, 3 * MiB])
async def test_a_message_over_1_mib_is_refused(channel: aio.Channel, name: str, size_bytes: int) -> None:
    request = _sized(name, size_bytes)
    await assert_refused(exchange(channel, SESSIONS + "RunTurn", request), MessageTooLarge())
    await assert_refused(exchange(channel, SESSIONS + "SubmitTurn", request), MessageTooLarge())
    route = (("x-session-id", name), ("x-agent", "echo"))
    await assert_refused(exchange(channel, SESSIONS + "RunTurn", request, metadata=route), MessageTooLarge())
    task = task_pb2.RunTaskRequest(task_key=name, agent="echo", input=request.turn.input)
    task.input.text += "x" * (size_bytes - task.ByteSize())
    await assert_refused(exchange(channel, TASKS + "RunTask", task), MessageTooLarge())
    await assert_refused(exchange(channel, HEALTH, bytes(size_bytes)), MessageTooLarge())


async def test_a_later_frame_over_1_mib_ends_the_stream(channel: aio.Channel, name: str) -> None:
    opening = session_pb2.ConverseRequest(open=session_pb2.Open(session_id=name, agent="echo"))
    frame = session_pb2.ConverseRequest(turn=turn("x" * (MiB + 1)))
    await assert_stream_refused(channel, [opening, frame], MessageTooLarge())


async def test_a_compressed_message_is_served_by_its_size_when_unpacked(channel: aio.Channel, name: str) -> None:
    fair = _sized(name, MiB // 2)
    stream = exchange(channel, SESSIONS + "RunTurn", fair, compression=grpc.Compression.Gzip)
    responses = [session_pb2.RunTurnResponse.FromString(raw) async for raw in stream]
    assert "".join(event.text_delta.text for each in responses for event in each.events) == fair.turn.input.text
    bomb = exchange(channel, SESSIONS + "RunTurn", bytes(3 * MiB), compression=grpc.Compression.Gzip)
    await assert_refused(bomb, MessageTooLarge())


async def test_a_message_over_8_mib_is_refused(channel: aio.Channel, name: str) -> None:
    await assert_refused(exchange(channel, SESSIONS + "RunTurn", _sized(name, 20 * MiB)), MessageTooLarge())


async def test_a_bomb_over_8_mib_is_refused(channel: aio.Channel) -> None:
    bomb = exchange(channel, SESSIONS + "RunTurn", bytes(50 * MiB), compression=grpc.Compression.Gzip)
    await assert_refused(bomb, MessageTooLarge())


async def test_metadata_over_128_kib_are_refused(channel: aio.Channel, name: str) -> None:
    padding = (("x-padding", "a" * 200 * KiB),)
    call = exchange(channel, SESSIONS + "RunTurn", _sized(name, KiB), metadata=padding)
    await assert_refused(call, MetadataTooLarge())


@pytest.mark.parametrize("size_kib", [9, 40])
async def test_metadata_over_8_kib_are_refused(channel: aio.Channel, name: str, size_kib: int) -> None:
    large = (("x-padding", "a" * size_kib * KiB),)
    many = tuple((f"x-padding-{n}", "a" * 92) for n in range(8 * size_kib))
    request = _sized(name, KiB)
    opening = session_pb2.ConverseRequest(open=session_pb2.Open(session_id=name, agent="echo"))
    for padding in (large, many):
        await assert_refused(exchange(channel, SESSIONS + "RunTurn", request, metadata=padding), MetadataTooLarge())
        await assert_refused(exchange(channel, SESSIONS + "GetSession", request, metadata=padding), MetadataTooLarge())
        await assert_refused(exchange(channel, SESSIONS + "Converse", opening, metadata=padding), MetadataTooLarge())
        await assert_refused(exchange(channel, HEALTH, b"", metadata=padding), MetadataTooLarge())


async def test_metadata_of_7_kib_are_carried(channel: aio.Channel, name: str) -> None:
    received = await run_turn(channel, name, turn("hi"), metadata=(("x-padding", "a" * 7 * KiB),))
    assert received.text == "hi"


async def test_what_others_sent_does_not_disturb_a_stream_that_is_open(channel: aio.Channel, name: str) -> None:
    conversation = Conversation(channel)
    await conversation.open(name)
    bad: list[tuple[Message | bytes, tuple[tuple[str, str], ...]]] = [
        (b"\xff\xff\xff", ()),
        (_sized(name, 3 * MiB), ()),
        (_sized(name, KiB), (("x-padding", "a" * 40 * KiB),)),
    ]
    errors = await asyncio.gather(
        *(status_of(exchange(channel, SESSIONS + "RunTurn", message, metadata=md)) for message, md in bad * 5)
    )
    for error, expected in zip(errors, (MalformedRequest(), MessageTooLarge(), MetadataTooLarge()) * 5, strict=True):
        assert_is(error, expected)
    turn_id = await conversation.turn(turn("still whole"))
    await conversation.until("turn_completed", turn_id)
    assert conversation.text == "still whole"
    await conversation.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: agentring\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(508),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
        bytes(range(256)) * 16,
    ],
    ids=["HTTP/1.1", "TLS", "a broken frame", "noise"],
)
@pytest.mark.parametrize("door", ["router", "node"])
async def test_a_connection_that_does_not_speak_http2_is_closed(cluster: Cluster, door: str, raw: bytes) -> None:
    address = cluster.router if door == "router" else cluster.nodes["n1"].address
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(raw)
        async with asyncio.timeout(10):
            try:
                while await reader.read(KiB):
                    pass
            except ConnectionResetError:
                pass
    finally:
        writer.close()
    async with connect(address) as channel:
        assert (await run_turn(channel, uuid.uuid4().hex, turn("still here"))).text == "still here"
