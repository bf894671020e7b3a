"""A cluster whose router is attacked, with small limits, so that a short attack meets them."""

from collections.abc import Iterator

import pytest

from harness.cluster import Cluster

FAULTS = ("connection_failed", "call_failed", "Traceback", "never retrieved", "never awaited")
"""What must not stand in any log, whatever a client does."""
ROUTER_FLAGS = (
    "--first-frame-timeout-s=4",
    "--keepalive-s=2",
    "--keepalive-timeout-s=2",
    "--max-connections=300",
    "--max-streams=1000",
    f"--max-buffered-bytes={8 << 20}",
)


@pytest.fixture(scope="session")
def attacked(etcd_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node and one router, shared by all attacks: none may leave anything behind."""
    cluster = Cluster(etcd_url, tmp_path_factory.mktemp("attacked"))
    try:
        cluster.start(nodes=1, flags=("--first-frame-timeout-s=4",), router_flags=ROUTER_FLAGS)
        yield cluster
    finally:
        cluster.stop()
    members = (cluster.routers["r1"], cluster.nodes["n1"])
    log = "".join(member.process.log.read_text() for member in members)
    assert [fault for fault in FAULTS if fault in log] == [], log[-10_000:]
