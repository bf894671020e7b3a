"""Fixtures of all tests: one etcd for each test process, and clusters on it; and the order in which tests run."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import grpc
import hypothesis
import pytest

from harness.cluster import Cluster
from harness.etcd import EtcdProcess
from harness.postgres import PostgresProcess, find_programs

# How long one example takes depends on what else runs on the machine.
hypothesis.settings.register_profile("agentring", deadline=None)
hypothesis.settings.load_profile("agentring")

_HERE = Path(__file__).parent
_WAITING = ("chaos", "abuse", "interop", "contract", "integration")
"""Folders whose tests wait for processes rather than compute, those with the longest tests first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deals the tests to pytest-xdist's workers, a module at a time, so that each begins with its share of those that
    wait, and ends with short ones that another can take over. (`--dist worksteal` gives each worker an equal run of the
    list. In the list's own order one worker has all that wait, and the others have nothing left to do beside them.)"""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return

    def place(item: pytest.Item) -> tuple[int, str]:
        folder = item.path.relative_to(_HERE).parts[0]
        # (Those of chaos have a cluster each, and share nothing by their module.)
        return (
            _WAITING.index(folder) if folder in _WAITING else len(_WAITING),
            item.nodeid if folder == "chaos" else str(item.path),
        )

    hands: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for _, module in groupby(sorted(items, key=place), key=place):
        min(hands, key=len).extend(module)
    items[:] = [item for hand in hands for item in hand]


@pytest.fixture(scope="session")
def etcd_url() -> Iterator[str]:
    """A real etcd, shared; tests keep apart by their cluster's name."""
    directory = Path(tempfile.mkdtemp(prefix="agentring-etcd-"))
    etcd = EtcdProcess(directory)
    try:
        yield etcd.url
    finally:
        etcd.stop()
        shutil.rmtree(directory)


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    """A real etcd of the test's own, to stop and start."""
    etcd = EtcdProcess(tmp_path)
    try:
        yield etcd
    finally:
        etcd.stop()


@pytest.fixture
def make_cluster(etcd_url: str, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Starts clusters of real processes; ends them with the test."""
    clusters: list[Cluster] = []

    def make(
        *,
        nodes: int,
        routers: int = 1,
        flags: tuple[str, ...] = (),
        router_flags: tuple[str, ...] = (),
        lease_ttl_s: int = 3,
        sees_by: grpc.ChannelCredentials | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Cluster:
        directory = tmp_path / f"cluster{len(clusters)}"
        directory.mkdir()
        cluster = Cluster(etcd_url, directory, lease_ttl_s=lease_ttl_s)
        clusters.append(cluster)
        cluster.start(
            nodes=nodes,
            routers=routers,
            flags=flags,
            router_flags=router_flags,
            sees_by=sees_by,
            metadata=metadata,
        )
        return cluster

    try:
        yield make
    finally:
        for cluster in clusters:
            cluster.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresProcess]:
    """A real PostgreSQL, shared; each test has a database of its own in it."""
    with _postgres() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresProcess]:
    """A real PostgreSQL of the test's own, to stop and start."""
    with _postgres() as server:
        yield server


@contextmanager
def _postgres() -> Iterator[PostgresProcess]:
    if find_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    directory = Path(tempfile.mkdtemp(prefix="agentring-postgres-"))
    directory.chmod(0o755)  # its server is another user's
    server = PostgresProcess(directory / "server")
    try:
        yield server
    finally:
        server.stop(signal.SIGQUIT)  # at once: nothing of it is needed any more
        shutil.rmtree(directory)
