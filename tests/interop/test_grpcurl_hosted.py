"""grpcurl calls a service that is a user's own, and that it knows from a .proto file alone.

What it does with agentring's own services, by reflection, is tried in contract/test_grpcurl.py. It prints bytes as
base64 and cannot compress, so those cases are left to the libraries.
"""

import asyncio
import base64
import json
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from harness.hosted import HostedService
from harness.tools import require_tool

SERVICE = "interop.v1.EchoService"
PROTOS = Path(__file__).parent
LIMIT_BYTES = 4 << 20
HEAD_BYTES = 5
"""Of a Payload with one data of about the limit: its tag and its length."""
TIMEOUT_S = 30.0
DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = 4, 8, 9
STATUS_OFFSET = 64
"""grpcurl ends with this and the call's status."""


class Grpcurl:
    """grpcurl against a router."""

    def __init__(self, program: Path, address: str) -> None:
        self._program = program
        self.address = address
        self.session = f"grpcurl-{uuid.uuid4().hex}"

    async def start(self, method: str, *flags: str) -> Process:
        """A call whose requests are written to its standard input."""
        proto = ("-plaintext", "-import-path", str(PROTOS), "-proto", "interop.proto", "-d", "@")
        session = ("-H", f"x-session-id: {self.session}")
        return await asyncio.create_subprocess_exec(
            *(str(self._program), *proto, *session, *flags, self.address, f"{SERVICE}/{method}"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=2 * LIMIT_BYTES,
        )

    async def call(self, method: str, *messages: bytes, flags: tuple[str, ...] = ()) -> tuple[int, str, str]:
        """Its exit status, stdout and stderr."""
        process = await self.start(method, "-max-time", str(TIMEOUT_S), *flags)
        out, err = await process.communicate("".join(map(_request, messages)).encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def responses(self, method: str, *messages: bytes, flags: tuple[str, ...] = ()) -> list[list[bytes]]:
        """The answers of a call that ends with OK: the data of each."""
        status, out, err = await self.call(method, *messages, flags=flags)
        assert status == 0, err
        return list(_documents(out))


def _request(message: bytes) -> str:
    return json.dumps({"data": [base64.b64encode(message).decode()]} if message else {}) + "\n"


def _documents(text: str) -> Iterator[list[bytes]]:
    decoder, place = json.JSONDecoder(), 0
    while place < len(text.rstrip()):
        document, place = decoder.raw_decode(text, place + (text[place] == "\n"))
        yield [base64.b64decode(data) for data in document.get("data", [])]


@pytest.fixture
def grpcurl(hosted: HostedService) -> Grpcurl:
    """grpcurl, with a session of its own."""
    return Grpcurl(require_tool("grpcurl"), hosted.router)


async def test_unary(grpcurl: Grpcurl) -> None:
    assert await grpcurl.responses("Unary", b"one message") == [[b"one message"]]


async def test_client_stream(grpcurl: Grpcurl) -> None:
    messages = [f"{n}".encode() for n in range(100)]
    assert await grpcurl.responses("ClientStream", *messages) == [messages]


async def test_server_stream(grpcurl: Grpcurl) -> None:
    assert await grpcurl.responses("ServerStream", b"again", flags=("-H", "count: 100")) == [[b"again"]] * 100


async def test_bidi_10000(grpcurl: Grpcurl) -> None:
    messages = [f"message {n}".encode() for n in range(10_000)]
    assert await grpcurl.responses("BidiStream", *messages) == [[message] for message in messages]


@pytest.mark.parametrize("size", [1, LIMIT_BYTES - HEAD_BYTES])
async def test_message_of(grpcurl: Grpcurl, size: int) -> None:
    assert await grpcurl.responses("Unary", bytes(size)) == [[bytes(size)]]


async def test_an_empty_message(grpcurl: Grpcurl) -> None:
    assert await grpcurl.responses("Unary", b"") == [[]]


async def test_message_over_limit(grpcurl: Grpcurl) -> None:
    status, out, err = await grpcurl.call("Unary", bytes(LIMIT_BYTES), flags=("-format-error",))
    assert (status, out) == (STATUS_OFFSET + RESOURCE_EXHAUSTED, "")
    (detail,) = json.loads(err)["details"]
    assert b"MESSAGE_TOO_LARGE" in base64.b64decode(detail["@value"])  # interop.proto says nothing of an ErrorInfo


async def test_metadata(grpcurl: Grpcurl) -> None:
    flags = ("-v", "-H", "echo-text: a value", "-H", f"echo-bytes-bin: {base64.b64encode(bytes(range(256))).decode()}")
    status, out, err = await grpcurl.call("Unary", b"with metadata", flags=flags)
    assert status == 0, err
    _, received = out.split("Response headers received:")
    headers, trailers = received.split("Response trailers received:")
    for part in (headers, trailers):
        lines = part.splitlines()
        assert "echo-text: a value" in lines
        (packed,) = [line.removeprefix("echo-bytes-bin: ") for line in lines if line.startswith("echo-bytes-bin: ")]
        assert base64.b64decode(packed + "==") == bytes(range(256))
    assert "x-agentring-node: hosted" in headers.splitlines()


async def test_status(grpcurl: Grpcurl) -> None:
    sentence = "größer: 100% of 世界"
    packed = base64.b64encode(sentence.encode()).decode()
    flags = ("-format-error", "-H", f"fail-code: {FAILED_PRECONDITION}", "-H", f"fail-message-bin: {packed}")
    status, out, err = await grpcurl.call("Fail", b"one answer", flags=flags)
    assert status == STATUS_OFFSET + FAILED_PRECONDITION
    assert list(_documents(out)) == [[b"one answer"]]
    assert json.loads(err)["message"] == sentence


async def test_deadline(grpcurl: Grpcurl) -> None:
    call_id = uuid.uuid4().hex
    process = await grpcurl.start("Hold", "-max-time", "1", "-H", f"call-id: {call_id}")
    await _until_held(process)
    assert await _outcome(grpcurl, call_id) == "cancelled"
    await process.communicate(b"")  # it reads its input to the end before it says anything
    assert process.returncode == STATUS_OFFSET + DEADLINE_EXCEEDED


async def test_cancel(grpcurl: Grpcurl) -> None:
    call_id = uuid.uuid4().hex
    process = await grpcurl.start("Hold", "-H", f"call-id: {call_id}")
    await _until_held(process)
    process.terminate()  # its connection goes with it
    await process.wait()
    assert await _outcome(grpcurl, call_id) == "cancelled"


async def _until_held(process: Process) -> None:
    """Sends a message and reads its echo, so that the call is under way."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(_request(b"held").encode())
    await process.stdin.drain()
    async with asyncio.timeout(TIMEOUT_S):
        assert list(_documents((await process.stdout.readuntil(b"}")).decode())) == [[b"held"]]


async def _outcome(grpcurl: Grpcurl, call_id: str) -> str:
    """How the backend's call ended."""
    async with grpc.aio.insecure_channel(grpcurl.address) as channel:
        ask: Any = channel.unary_unary(f"/{SERVICE}/Outcome")
        answer: bytes = await ask(
            call_id.encode(), metadata=(("x-session-id", grpcurl.session),), timeout=TIMEOUT_S, wait_for_ready=True
        )
        return answer.decode()
