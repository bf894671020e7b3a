"""h2spec: routers and nodes speak HTTP/2 as RFC 9113 and RFC 7541 say, also with a peer that does not."""

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.hosted import HostedService
from harness.tools import require_tool

TIMEOUT_S = 5
CASES = 146
"""Of h2spec 2.2.1, with its strict ones."""


@pytest.mark.timeout(900)  # a server that answers nothing makes it wait in every case
# `/` is nothing that gRPC knows; the health check is one of the router's own services.
@pytest.mark.parametrize("path", ["/", "/grpc.health.v1.Health/Check"])
@pytest.mark.parametrize("door", ["router", "node"])
def test_it_conforms(request: pytest.FixtureRequest, tmp_path: Path, door: str, path: str) -> None:
    port = _port(request, door)
    report = tmp_path / "report.xml"
    flags = ("--strict", "--timeout", str(TIMEOUT_S), "--path", path, "--junit-report", str(report))
    command = [str(require_tool("h2spec")), "-h", "127.0.0.1", "-p", port, *flags]
    # Its status says no more than the report, which names what failed.
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=CASES * TIMEOUT_S, check=False)
    cases = list(ET.parse(report).getroot().iter("testcase"))
    failures = [f"{case.get('package')} {case.get('classname')}: {_failure(case)}" for case in cases if len(case)]
    assert failures == []
    assert len(cases) == CASES


def _port(request: pytest.FixtureRequest, door: str) -> str:
    if door == "node":
        address: str = request.getfixturevalue("own_services")
        return address.rpartition(":")[2]
    hosted: HostedService = request.getfixturevalue("hosted")
    return str(hosted.port)


def _failure(case: ET.Element) -> str:
    return "; ".join(f"{child.tag} {' / '.join((child.text or '').split(chr(10)))}" for child in case)
