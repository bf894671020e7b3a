"""Clusters that the contract's tests share, and the two doors to them: a router, and a node itself."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpc import aio

from harness import agents
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster

DOORS = ("router", "node")
FAULTS = ("call_failed", "relay_failed", "session_failed", "task_run_failed", "never retrieved", "never awaited")
"""What must not stand in any process's log, whatever a client sends."""


@pytest.fixture(scope="session")
def cluster(etcd_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes and a router with everything as it is by default."""
    yield from _running(etcd_url, tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="session")
def tight_cluster(etcd_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node and a router with little room and little patience."""
    yield from _running(
        etcd_url,
        tmp_path_factory.mktemp("tight"),
        "--mailbox-size=1",
        "--max-log-bytes=65536",
        "--max-stored-log-bytes=65536",
        "--first-frame-timeout-s=0.5",
        "--heartbeat-s=0.5",
        nodes=1,
        router_flags=("--first-frame-timeout-s=0.5",),
    )


def _running(
    etcd_url: str, directory: Path, *flags: str, nodes: int = 2, router_flags: tuple[str, ...] = ()
) -> Iterator[Cluster]:
    cluster = Cluster(etcd_url, directory)
    try:
        cluster.start(nodes=nodes, flags=(*agents.FLAGS, *flags), router_flags=router_flags)
        yield cluster
    finally:
        cluster.stop()
    members = (*cluster.nodes.values(), *cluster.routers.values())
    logged = "".join(member.process.log.read_text() for member in members)
    assert [fault for fault in FAULTS if fault in logged] == [], logged[-10_000:]


def _address(cluster: Cluster, door: str) -> str:
    return cluster.router if door == "router" else cluster.nodes["n1"].address


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    """Which way in `channel` is."""
    door: str = request.param
    return door


@pytest.fixture
async def channel(cluster: Cluster, door: str) -> AsyncIterator[aio.Channel]:
    """A channel to a router, and one to a node. Whatever the test sends, a good turn must go through afterwards."""
    async with _serving(_address(cluster, door)) as channel:
        yield channel


@pytest.fixture
async def routed(cluster: Cluster) -> AsyncIterator[aio.Channel]:
    """A channel to a router, as `channel`."""
    async with _serving(cluster.router) as channel:
        yield channel


@pytest.fixture
async def direct(cluster: Cluster) -> AsyncIterator[aio.Channel]:
    """A channel to a node, as `channel`."""
    async with _serving(cluster.nodes["n1"].address) as channel:
        yield channel


@pytest.fixture(params=DOORS)
async def tight(tight_cluster: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[aio.Channel]:
    """As `channel`, to the tight cluster."""
    async with _serving(_address(tight_cluster, request.param)) as channel:
        yield channel


@asynccontextmanager
async def _serving(address: str) -> AsyncIterator[aio.Channel]:
    async with connect(address) as channel:
        yield channel
        received = await run_turn(channel, uuid.uuid4().hex, turn("still here"))
        assert received.text == "still here"


@pytest.fixture
def name() -> str:
    """A session id or task key that no other test uses."""
    return f"test-{uuid.uuid4().hex}"
