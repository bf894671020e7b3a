"""h2load: many unary calls on few connections, none of them lost."""

import re
import subprocess
from pathlib import Path

import pytest

from harness.hosted import HostedService
from harness.tools import require_tool

REQUESTS = 2_000
GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")
FRAMED = b"\0\0\0\0\0"
"""An empty message."""


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/grpc.health.v1.Health/Check", ()), ("/interop.v1.EchoService/Unary", ("-H", "x-session-id: h2load"))],
    ids=["health", "hosted"],
)
def test_every_request_succeeds(hosted: HostedService, tmp_path: Path, path: str, headers: tuple[str, ...]) -> None:
    request = tmp_path / "request"
    request.write_bytes(FRAMED)
    load = ("-n", str(REQUESTS), "-c", "4", "-m", "50", "-d", str(request), *GRPC, *headers)
    command = [str(require_tool("h2load")), *load, f"http://{hosted.router}{path}"]
    report = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert report.returncode == 0, report.stdout + report.stderr
    assert f"{REQUESTS} done, {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout" in report.stdout, report.stdout
    assert re.search(rf"status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx", report.stdout), report.stdout
