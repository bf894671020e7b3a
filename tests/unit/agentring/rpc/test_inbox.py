"""Messages that a server of our own services takes, and what it answers to the others."""

import asyncio
import gzip

import pytest

from agentring.http2 import frames
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from agentring.v1 import session_pb2
from harness.asked_sessions import CONVERSE, GET, REQUEST, RUN, AskedSessions, asked
from harness.byte_client import Peer, byte_client

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
    async with byte_client(address) as peer:
        peer.request(1, GET, ("grpc-encoding", encoding))
        whole = bytes([flag]) + len(body).to_bytes(4, "big") + body
        sending = asyncio.create_task(_paced(peer, 1, whole))
        answer = await peer.answer(1)
        sending.cancel()
        assert (answer.status, answer.reason) == expected


async def _paced(peer: Peer, stream_id: int, data: bytes) -> None:
    """All of it, a window at a time: what more the server grants comes sooner than the next one is sent."""
    for start in range(0, len(data), frames.MAX_FRAME_BYTES):
        piece = data[start : start + frames.MAX_FRAME_BYTES]
        peer.send(frames.data(stream_id, piece, end_stream=start + len(piece) == len(data)))
        await asyncio.sleep(0.001)


async def test_a_length_that_no_message_has_is_refused_before_it_comes(address: str) -> None:
    async with byte_client(address) as peer:
        peer.request(1, GET)
        peer.send(frames.data(1, b"\0\xff\xff\xff\xff" + b"x" * 100))
        assert (await peer.answer(1)).reason == "MESSAGE_TOO_LARGE"


async def test_half_a_message_is_malformed(address: str) -> None:
    async with byte_client(address) as peer:
        peer.request(1, GET)
        peer.send(frames.data(1, b"\0\0\0\0\x09abc", end_stream=True))
        assert (await peer.answer(1)).reason == "MALFORMED_REQUEST"


@pytest.mark.parametrize("path", [GET, RUN])
async def test_a_second_message_of_a_call_that_takes_one_is_refused(
    address: str, asked_sessions: AskedSessions, path: str
) -> None:
    async with byte_client(address) as peer:
        runs = asked_sessions.runs
        peer.request(1, path)
        peer.message(1, REQUEST, end=False)
        peer.message(1, REQUEST)
        answer = await peer.answer(1)
        assert (answer.status, answer.reason, answer.data) == ("3", "SECOND_MESSAGE", b"")
        assert asked_sessions.runs == runs


async def test_a_call_that_takes_one_message_waits_for_its_end_no_longer_than_for_its_first(address: str) -> None:
    async with byte_client(address) as peer:
        peer.request(1, GET)
        peer.message(1, REQUEST, end=False)
        assert (await peer.answer(1)).reason == "FIRST_FRAME_TIMEOUT"


async def test_a_number_that_is_no_value_of_its_enum_is_refused(address: str, asked_sessions: AskedSessions) -> None:
    turn = session_pb2.Turn(input=session_pb2.Input(text="hi"), on_busy=77)  # type: ignore[arg-type]
    request = session_pb2.RunTurnRequest(session_id="s", turn=turn).SerializeToString()
    runs = asked_sessions.runs
    answer = await asked(address, path=RUN, body=request)
    assert (answer.status, answer.reason) == ("3", "UNKNOWN_ENUM_VALUE")
    opening = session_pb2.ConverseRequest(turn=turn).SerializeToString()
    assert (await asked(address, path=CONVERSE, body=opening)).reason == "UNKNOWN_ENUM_VALUE"
    assert asked_sessions.runs == runs
