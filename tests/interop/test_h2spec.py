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
CASES_5_1 = 13
WITHOUT_5_1_2 = (
    *("generic", "hpack", "http2/3.5", "http2/4", "http2/5.1.1", "http2/5.3", "http2/5.4", "http2/5.5"),
    *(f"http2/5.1/{number}" for number in range(1, CASES_5_1 + 1)),
    *("http2/6", "http2/7", "http2/8"),
)
"""All but the one case that opens more streams than are allowed."""


@pytest.mark.timeout(900)  # a server that answers nothing makes it wait in every case
# `/` is nothing that gRPC knows; the health check is one of the router's own services.
@pytest.mark.parametrize("path", ["/", "/grpc.health.v1.Health/Check"])
@pytest.mark.parametrize("door", ["router", "node"])
def test_it_conforms(request: pytest.FixtureRequest, tmp_path: Path, door: str, path: str) -> None:
    assert _ran(tmp_path, _port(request, door), path) == CASES


# A node's own port allows so many streams that the first have had their time before h2spec has opened them all.
@pytest.mark.parametrize("path", ["/", "/grpc.health.v1.Health/Check"])
def test_a_nodes_own_port_conforms(node_address: str, tmp_path: Path, path: str) -> None:
    assert _ran(tmp_path, node_address.rpartition(":")[2], path, *WITHOUT_5_1_2) == CASES - 1


def _ran(directory: Path, port: str, path: str, *sections: str) -> int:
    """How many cases were run, all of which have passed."""
    report = directory / "report.xml"
    flags = ("--strict", "--timeout", str(TIMEOUT_S), "--path", path, "--junit-report", str(report))
    command = [str(require_tool("h2spec")), "-h", "127.0.0.1", "-p", port, *flags, *sections]
    # Its status says no more than the report, which names what failed.
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=CASES * TIMEOUT_S, check=False)
    cases = list(ET.parse(report).getroot().iter("testcase"))
    failures = [f"{case.get('package')} {case.get('classname')}: {_failure(case)}" for case in cases if len(case)]
    assert failures == []
    return len(cases)


def _port(request: pytest.FixtureRequest, door: str) -> str:
    if door == "node":
        address: str = request.getfixturevalue("own_services")
        return address.rpartition(":")[2]
    hosted: HostedService = request.getfixturevalue("hosted")
    return str(hosted.port)


def _failure(case: ET.Element) -> str:
    return "; ".join(f"{child.tag} {' / '.join((child.text or '').split(chr(10)))}" for child in case)
