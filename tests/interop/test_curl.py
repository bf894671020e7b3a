"""curl with HTTP/2 by prior knowledge: gRPC by hand, and requests that are no gRPC."""

import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.hosted import HostedService
from harness.tools import require_tool

HEALTH = "/grpc.health.v1.Health/Check"
SERVING = bytes([0x08, 1])
"""HealthCheckResponse{status: SERVING}"""
GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")


def framed(message: bytes) -> bytes:
    """As gRPC sends it, uncompressed."""
    return struct.pack(">BI", 0, len(message)) + message


@dataclass
class Answer:
    """What curl was told."""

    status: int
    head: str
    """Headers and trailers, one a line."""
    body: bytes

    def fields(self, name: str) -> list[str]:
        """The values of a header or trailer."""
        return re.findall(rf"(?mi)^{name}: *(.*?)\s*$", self.head)


class Curl:
    """curl against one address."""

    def __init__(self, program: Path, address: str, directory: Path) -> None:
        self._program = program
        self._address = address
        self._head = directory / "head"
        self._body = directory / "body"

    def __call__(self, path: str, *flags: str, body: bytes | None = None) -> Answer:
        """One request: a POST, if there is a body."""
        sent = ("--data-binary", "@-") if body is not None else ()
        command = [str(self._program), "-sS", "--noproxy", "*", "--http2-prior-knowledge", "--max-time", "20"]
        command += ["-D", str(self._head), "-o", str(self._body), *sent, *flags, f"http://{self._address}{path}"]
        self._body.write_bytes(b"")
        done = subprocess.run(command, input=body or b"", capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        head = self._head.read_text()
        return Answer(int(head.split()[1]), head, self._body.read_bytes())


@pytest.fixture
def curl(hosted: HostedService, tmp_path: Path) -> Curl:
    """curl against the router."""
    return Curl(require_tool("curl"), hosted.router, tmp_path)


def test_it_asks_for_the_routers_health(curl: Curl) -> None:
    answer = curl(HEALTH, *GRPC, body=framed(b""))
    assert (answer.status, answer.body) == (200, framed(SERVING))
    assert answer.fields("content-type") == ["application/grpc"]
    assert answer.fields("grpc-status") == ["0"]


def test_it_calls_a_hosted_service(curl: Curl) -> None:
    session = ("-H", "x-session-id: curl", "-H", "echo-text: from curl")
    answer = curl("/interop.v1.EchoService/Unary", *GRPC, *session, body=framed(b"hello"))
    assert (answer.status, answer.body) == (200, framed(b"hello"))
    assert answer.fields("grpc-status") == ["0"]
    assert answer.fields("x-agentring-node") == ["hosted"]
    assert answer.fields("echo-text") == ["from curl", "from curl"]


def test_a_large_body(curl: Curl) -> None:
    message = bytes(range(256)) * 4096
    answer = curl("/interop.v1.EchoService/Unary", *GRPC, "-H", "x-session-id: curl", body=framed(message))
    assert answer.body == framed(message)
    assert answer.fields("grpc-status") == ["0"]


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;charset=utf-8"])
def test_kinds_of_grpc(curl: Curl, content_type: str) -> None:
    answer = curl(HEALTH, "-H", f"content-type: {content_type}", "-H", "te: trailers", body=framed(b""))
    assert (answer.status, answer.body) == (200, framed(SERVING))


@pytest.mark.parametrize("path", [HEALTH, "/interop.v1.EchoService/Unary", "/"])
@pytest.mark.parametrize(
    ("flags", "body"),
    [
        (("-H", "content-type: application/json"), b"{}"),
        (("-H", "content-type: application/grpc-web+proto"), framed(b"")),
        (("-H", "content-type:"), framed(b"")),
        (("-H", "content-type: application/json"), b" " * (1 << 20)),
        ((), None),
        (("--head",), None),
    ],
    ids=["json", "grpc-web", "no type", "large", "GET", "HEAD"],
)
def test_what_is_no_grpc(curl: Curl, path: str, flags: tuple[str, ...], body: bytes | None) -> None:
    answer = curl(path, "-H", "x-session-id: curl", *flags, body=body)
    assert answer.status == 415
    assert answer.fields("grpc-status") == []
    test_it_asks_for_the_routers_health(curl)


def test_an_unknown_method(curl: Curl) -> None:
    answer = curl("/nobody.Knows/This", *GRPC, body=framed(b""))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.fields("grpc-status") == ["12"]
