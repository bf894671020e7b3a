"""Clusters with short leases, a link to etcd that can be cut, and how a new session is refused."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from agentring.rpc.status import ErrorReport
from agentring.v1 import (
    session_pb2,
    session_pb2_grpc,
)
from harness.client import connect, error_of, turn
from harness.cluster import Cluster
from harness.processes import free_port
from robustness.chaos.cluster.links import Link

TTL_S = 3


F_S = 2
"""Of this TTL, the fence comes so long after the last renewal."""


@contextmanager
def cluster_on(etcd_url: str, directory: Path, *, lease_ttl_s: int = TTL_S) -> Iterator[Cluster]:
    directory.mkdir(exist_ok=True)
    cluster = Cluster(etcd_url, directory, lease_ttl_s=lease_ttl_s)
    try:
        yield cluster
    finally:
        cluster.stop()


@asynccontextmanager
async def link_to(etcd_url: str) -> AsyncIterator[Link]:
    link = Link(etcd_url.removeprefix("http://"))
    await link.start("127.0.0.1")
    try:
        yield link
    finally:
        await link.stop()


def measured() -> tuple[str, str]:
    """An address for a process's metrics, and the flag."""
    address = f"127.0.0.1:{free_port()}"
    return address, f"--metrics-listen={address}"


async def new_session(channel: Any, name: str) -> ErrorReport:
    """How a new session is refused."""
    request = session_pb2.RunTurnRequest(session_id=name, agent="echo", turn=turn("hi"))
    return await error_of(session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10))


async def refused_by(address: str) -> str:
    """The reason with which a process refuses a new session, once it refuses one."""
    async with connect(address) as channel:
        return (await new_session(channel, "made-meanwhile")).reason


def logged(log: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]
