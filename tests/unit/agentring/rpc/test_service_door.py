"""A server of our own services answers whatever bytes come, and goes on serving: no input ends it."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping

import pytest
import structlog

from agentring.errors import NodeDraining
from agentring.http2 import frames
from agentring.http2.frames import Code
from agentring.http2.hpack import block
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from agentring.rpc.server import Server
from agentring.rpc.service import Call
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import GetSessionRequest, GetSessionResponse, RunTurnRequest, RunTurnResponse
from harness.door import USUAL, Answer, Peer, knocking, request_fields
from harness.http2_frames import frame

SERVICE = session_pb2.DESCRIPTOR.services_by_name["SessionService"]
GET, RUN, CONVERSE = (f"/agentring.v1.SessionService/{name}" for name in ("GetSession", "RunTurn", "Converse"))
REQUEST = GetSessionRequest(session_id="s").SerializeToString()


class Sessions:
    """Answers at once, but for a turn, which waits until `released`."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.runs = 0
        self.ran = asyncio.Event()

    async def GetSession(self, request: GetSessionRequest, _call: Call) -> GetSessionResponse:
        return GetSessionResponse(session=session_pb2.Session(session_id=request.session_id))

    async def RunTurn(self, _request: RunTurnRequest, call: Call) -> None:
        self.runs += 1
        self.ran.set()
        await call.accept()
        await self.released.wait()
        await call.send(RunTurnResponse(through_seq=1, acked_frame=0))

    async def Converse(self, requests: AsyncIterator[session_pb2.ConverseRequest], call: Call) -> None:
        count = len([request async for request in requests])
        await call.send(session_pb2.ConverseResponse(through_seq=count, acked_frame=0))


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
async def address(sessions: Sessions) -> AsyncIterator[str]:
    """Of a server with a neighbour: a call that is open before the test begins and is served to its end afterwards, as
    is a new one; nothing that the test sends is a fault of ours."""
    server = Server("127.0.0.1:0", {SERVICE: sessions}, first_frame_timeout_s=1.0)
    await server.start()
    with structlog.testing.capture_logs() as logged:
        try:
            async with knocking(server.address) as neighbour:
                neighbour.request(1, RUN)
                neighbour.message(1, b"")
                yield server.address
                sessions.released.set()
                assert (await neighbour.answer(1)).status == "0"
                assert (await asked(server.address)).status == "0"
                assert not server.ended.done()
        finally:
            await server.stop(0)
    assert [each for each in logged if each["log_level"] in ("error", "critical")] == []


async def asked(
    address: str, *more: tuple[str, str], path: str = GET, body: bytes = REQUEST, line: Mapping[str, str] = USUAL
) -> Answer:
    """A unary call on a connection of its own."""
    async with knocking(address) as peer:
        peer.request(1, path, *more, line=line)
        peer.message(1, body)
        return await peer.answer(1)


@pytest.mark.parametrize("path", ["/u\xff/M", "/grpc.\xff/M", "/a b/c", "/a\x7f/b", "a/b", "*", "/" + "a" * 2_000])
async def test_a_path_that_is_none_is_answered(address: str, path: str) -> None:
    told = await asked(address, ("x-session-id", "s0"), path=path)
    assert (told.status, told.reason) == ("3", "MALFORMED_HEADER")


async def test_a_path_that_is_none_is_answered_without_a_message(address: str) -> None:
    async with knocking(address) as peer:
        peer.request(1, "/u\xff/M", ("x-session-id", "s0"), end=True)
        assert (await peer.answer(1)).reason == "MALFORMED_HEADER"
        peer.request(3, GET)
        peer.message(3, REQUEST)
        assert (await peer.answer(3)).status == "0"


@pytest.mark.parametrize(
    ("line", "more", "expected"),
    [
        ({"scheme": "ftp"}, (), ("3", "MALFORMED_HEADER")),
        ({"authority": "a b%%\xff"}, (), ("3", "MALFORMED_HEADER")),
        ({}, (("x-v", "\xff\xfe"),), ("3", "MALFORMED_HEADER")),
        ({}, (("user-agent", "\x01"),), ("3", "MALFORMED_HEADER")),
        ({}, (("x-session-id", "s\xff"),), ("3", "MALFORMED_HEADER")),
        ({}, (("x-bin", "!!!!"),), ("3", "MALFORMED_HEADER")),
        ({}, (("x-bin", "AAA=AAA"),), ("3", "MALFORMED_HEADER")),
        ({}, (("grpc-timeout", "soon"),), ("3", "MALFORMED_HEADER")),
        ({}, (("grpc-timeout", "123456789S"),), ("3", "MALFORMED_HEADER")),
        ({}, (("grpc-encoding", "zstd"),), ("12", "ENCODING_NOT_SUPPORTED")),
        ({}, (("grpc-previous-rpc-attempts", "x"),), ("3", "MALFORMED_HEADER")),
        ({}, (("grpc-previous-rpc-attempts", "1"),), ("0", "")),
        ({}, (("x-padding", "a" * 9_000),), ("8", "METADATA_TOO_LARGE")),
        ({}, (("x-padding", "a" * 70_000),), ("8", "METADATA_TOO_LARGE")),
        ({}, (("grpc-timeout", "0S"),), ("4", "DEADLINE_PASSED")),
    ],
)
async def test_header_fields_that_are_not_grpcs_are_answered(
    address: str, line: dict[str, str], more: tuple[tuple[str, str], ...], expected: tuple[str, str]
) -> None:
    told = await asked(address, *more, line=line)
    assert (told.status, told.reason) == expected
    assert told.headers["grpc-accept-encoding"] == "identity, deflate, gzip"


@pytest.mark.parametrize(
    ("line", "more"),
    [
        ({"authority": ""}, ()),
        ({"authority": ""}, (("host", "x"),)),
        ({"scheme": "https"}, ()),
        ({}, (("te", "trailers"), ("te", "trailers"))),
        ({}, (("content-type", "application/grpc+proto"),)),
        ({}, (("content-type", "application/grpc;charset=utf-8"),)),
        ({}, (("x-bin", "AAA"), ("y-bin", "AAA=,AA=="), ("z-bin", ","))),
        ({}, (("grpc-encoding", "identity"),)),
        ({}, (("grpc-timeout", "99999999H"),)),
        ({}, (("content-length", str(len(REQUEST) + 5)),)),
        ({}, (("cookie", "a=b"), ("cookie", "c=d"), ("expect", "100-continue"))),
    ],
)
async def test_header_fields_that_are_allowed_are_taken(
    address: str, line: dict[str, str], more: tuple[tuple[str, str], ...]
) -> None:
    assert (await asked(address, *more, line=line)).status == "0"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (((":method", "POST"), (":scheme", "http")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), (":path", GET)), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), (":sch\xffeme", "http")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("x-\xff", "v")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("X-Upper", "v")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("connection", "close")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("content-length", "\xb2")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("x-v", "a\nb")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("content-length", "3")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("content-length", "300")), Code.PROTOCOL_ERROR),
    ],
)
async def test_what_http2_forbids_ends_the_stream_alone(
    address: str, fields: tuple[tuple[str, str], ...], code: Code
) -> None:
    async with knocking(address) as peer:
        peer.send(frames.headers(1, block(fields), end_stream=False))
        peer.message(1, REQUEST)
        assert (await peer.answer(1)).reset is code
        peer.request(3, GET)
        peer.message(3, REQUEST)
        assert (await peer.answer(3)).status == "0"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ((("content-type", "application/grpc-web"),), {}),
        ((("content-type", "application/grpcweb+proto"),), {}),
        ((("content-type", "text/html"),), {}),
        ((), {"method": "GET"}),
        ((), {"method": "HEAD"}),
    ],
)
async def test_what_is_not_grpc_is_told_so_in_http(
    address: str, more: tuple[tuple[str, str], ...], line: dict[str, str]
) -> None:
    told = await asked(address, *more, line=line)
    assert (told.headers[":status"], told.status) == ("415", "")


PACKED = gzip.compress(REQUEST, mtime=0)
BOMB = gzip.compress(bytes(20 << 20), 9, mtime=0)


@pytest.mark.parametrize(
    ("body", "flag", "encoding", "expected"),
    [
        (PACKED, 1, "gzip", ("0", "")),
        (REQUEST, 0, "gzip", ("0", "")),
        (BOMB, 1, "gzip", ("8", "MESSAGE_TOO_LARGE")),
        (b"nonsense", 1, "gzip", ("3", "MALFORMED_REQUEST")),
        (PACKED[:-9], 1, "gzip", ("3", "MALFORMED_REQUEST")),
        (PACKED, 1, "deflate", ("3", "MALFORMED_REQUEST")),
        (REQUEST, 1, "identity", ("3", "MALFORMED_REQUEST")),
        (PACKED, 2, "gzip", ("3", "MALFORMED_REQUEST")),
        (REQUEST, 255, "identity", ("3", "MALFORMED_REQUEST")),
        (b"\xff\xff", 0, "identity", ("3", "MALFORMED_REQUEST")),
        (PACKED, 1, "zstd", ("12", "ENCODING_NOT_SUPPORTED")),
        (bytes(MAX_MESSAGE_BYTES + 1), 0, "identity", ("8", "MESSAGE_TOO_LARGE")),
    ],
)
async def test_messages_are_unpacked_within_bounds(
    address: str, body: bytes, flag: int, encoding: str, expected: tuple[str, str]
) -> None:
    async with knocking(address) as peer:
        peer.request(1, GET, ("grpc-encoding", encoding))
        whole = bytes([flag]) + len(body).to_bytes(4, "big") + body
        sending = asyncio.create_task(_paced(peer, 1, whole))
        told = await peer.answer(1)
        sending.cancel()
        assert (told.status, told.reason) == expected


async def _paced(peer: Peer, stream_id: int, data: bytes) -> None:
    """All of it, a window at a time: what more the server grants comes sooner than the next one is sent."""
    for start in range(0, len(data), frames.MAX_FRAME_BYTES):
        piece = data[start : start + frames.MAX_FRAME_BYTES]
        peer.send(frames.data(stream_id, piece, end_stream=start + len(piece) == len(data)))
        await asyncio.sleep(0.001)


async def test_a_length_that_no_message_has_is_refused_before_it_comes(address: str) -> None:
    async with knocking(address) as peer:
        peer.request(1, GET)
        peer.send(frames.data(1, b"\0\xff\xff\xff\xff" + b"x" * 100))
        assert (await peer.answer(1)).reason == "MESSAGE_TOO_LARGE"


async def test_half_a_message_is_malformed(address: str) -> None:
    async with knocking(address) as peer:
        peer.request(1, GET)
        peer.send(frames.data(1, b"\0\0\0\0\x09abc", end_stream=True))
        assert (await peer.answer(1)).reason == "MALFORMED_REQUEST"


@pytest.mark.parametrize("path", [GET, RUN])
async def test_a_second_message_of_a_call_that_takes_one_is_refused(
    address: str, sessions: Sessions, path: str
) -> None:
    async with knocking(address) as peer:
        runs = sessions.runs
        peer.request(1, path)
        peer.message(1, REQUEST, end=False)
        peer.message(1, REQUEST)
        told = await peer.answer(1)
        assert (told.status, told.reason, told.data) == ("3", "SECOND_MESSAGE", b"")
        assert sessions.runs == runs


async def test_a_call_that_takes_one_message_waits_for_its_end_no_longer_than_for_its_first(address: str) -> None:
    async with knocking(address) as peer:
        peer.request(1, GET)
        peer.message(1, REQUEST, end=False)
        assert (await peer.answer(1)).reason == "FIRST_FRAME_TIMEOUT"


async def test_a_number_that_is_no_value_of_its_enum_is_refused(address: str, sessions: Sessions) -> None:
    turn = session_pb2.Turn(input=session_pb2.Input(text="hi"), on_busy=77)  # type: ignore[arg-type]
    request = session_pb2.RunTurnRequest(session_id="s", turn=turn).SerializeToString()
    runs = sessions.runs
    told = await asked(address, path=RUN, body=request)
    assert (told.status, told.reason) == ("3", "UNKNOWN_ENUM_VALUE")
    opening = session_pb2.ConverseRequest(turn=turn).SerializeToString()
    assert (await asked(address, path=CONVERSE, body=opening)).reason == "UNKNOWN_ENUM_VALUE"
    assert sessions.runs == runs


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frames.PREFACE + frame(frames.HEADERS, 0, 1, b"\xff" * 100),
        frames.PREFACE + frame(frames.SETTINGS) + frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
        frames.PREFACE + frame(frames.SETTINGS) + frame(frames.DATA, 0, 5, b"x"),
        frames.PREFACE + frame(frames.SETTINGS) + frame(frames.HEADERS, frames.END_HEADERS, 2, b"\x82"),
        frames.PREFACE + frame(frames.SETTINGS) + b"\xff" * 64,
        frames.PREFACE + frame(frames.SETTINGS) + frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)),
    ],
)
async def test_a_broken_connection_is_told_so_and_ends(address: str, bytes_sent: bytes) -> None:
    async with knocking(address, opening=bytes_sent) as peer:
        assert (await peer.answer(1)).goaway is not None


async def test_who_leaves_has_its_call_cancelled_and_no_other(address: str, sessions: Sessions) -> None:
    async with knocking(address) as peer:
        for stream_id in (1, 3):
            peer.request(stream_id, RUN)
            peer.message(stream_id, b"")
        peer.send(frames.rst_stream(1, Code.CANCEL))
        sessions.released.set()
        assert (await peer.answer(3)).status == "0"


async def test_a_stopping_server_says_that_it_is_draining(sessions: Sessions) -> None:
    server = Server("127.0.0.1:0", {SERVICE: sessions}, first_frame_timeout_s=60)
    await server.start()
    async with knocking(server.address) as peer:
        peer.request(1, RUN)
        peer.message(1, b"")
        answering = asyncio.create_task(peer.answer(1))
        await sessions.ran.wait()
        await server.stop(0)
        told = await answering
    assert (told.status, told.reason) == ("14", NodeDraining.reason)
    assert told.headers["x-agentring-moved"] == "1"
    assert server.ended.done()
