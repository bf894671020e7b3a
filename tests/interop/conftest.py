"""A user's service behind a router, services served as a node serves its own, and the clients that call them."""

from collections.abc import Iterator

import pytest

from harness.cluster import TESTS, Cluster
from harness.hosted import HostedService
from harness.processes import Process, python

FAULTS = ("relay_failed", "call_failed", "Traceback", "never retrieved", "never awaited")
"""What must not stand in the router's log, whatever a client does."""


@pytest.fixture(scope="session")
def hosted(etcd_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedService]:
    """The backend of backend.py and a router with everything as it is by default."""
    service = HostedService(etcd_url, tmp_path_factory.mktemp("hosted"), "interop.backend")
    try:
        yield service
    finally:
        service.stop()
    logged = service.router_log.read_text()
    assert [fault for fault in FAULTS if fault in logged] == [], logged[-10_000:]


@pytest.fixture(scope="session")
def own_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of own_services.py."""
    log = tmp_path_factory.mktemp("own") / "own_services.log"
    process = Process(python("interop.own_services"), log, {"PYTHONPATH": str(TESTS)})
    try:
        yield process.ready_line()["address"]
    finally:
        process.stop()
    logged = log.read_text()
    assert [fault for fault in FAULTS if fault in logged] == [], logged[-10_000:]


@pytest.fixture(scope="module")
def node_address(etcd_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node's own port."""
    cluster = Cluster(etcd_url, tmp_path_factory.mktemp("node"))
    try:
        cluster.start(nodes=1)
        yield cluster.nodes["n1"].address
    finally:
        cluster.stop()
    logged = cluster.nodes["n1"].process.log.read_text()
    assert [fault for fault in FAULTS if fault in logged] == [], logged[-10_000:]
