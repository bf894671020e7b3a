"""A cluster of real processes on a shared etcd, apart from other tests' by its name in etcd."""

import asyncio
import json
import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import grpc

from agentring.v1 import cluster_pb2, cluster_pb2_grpc
from harness.processes import Process, python

TESTS = Path(__file__).parents[1]
AGENTS_PATH = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH", ""), str(TESTS.parent))))
"""Where nodes find the tests' own agents (harness/agents.py), then the compiled build where scripts/test puts it before
the sources, then the agents of the scripts."""


class Member:
    """A node or a router."""

    def __init__(self, name: str, process: Process) -> None:
        """Returns once it is ready."""
        self.name = name
        self.process = process
        self.ready_line = process.ready_line()
        self.address: str = self.ready_line["address"]


class Cluster:
    """Nodes and routers by name. `stop` ends them all."""

    def __init__(self, etcd_url: str, directory: Path, *, lease_ttl_s: int = 3) -> None:
        self.etcd_url = etcd_url
        self.directory = directory
        self.lease_ttl_s = lease_ttl_s
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.audit_file = directory / "audit.jsonl"
        self.nodes: dict[str, Member] = {}
        self.routers: dict[str, Member] = {}

    def start(
        self,
        *,
        nodes: int,
        routers: int = 1,
        flags: tuple[str, ...] = (),
        router_flags: tuple[str, ...] = (),
        sees_by: grpc.ChannelCredentials | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Starts n1.. and then r1..; returns when all are ready. A router is ready with the ring that it finds, so the
        nodes must have joined before it starts: otherwise its first calls may find none.

        sees_by: how the routers are asked, where they serve TLS; metadata: as whom.
        """
        spawned = [(f"n{i + 1}", self.spawn_node(f"n{i + 1}", *flags)) for i in range(nodes)]
        for name, process in spawned:
            self.nodes[name] = Member(name, process)
        spawned_routers = [(f"r{i + 1}", self._spawn_router(f"r{i + 1}", *router_flags)) for i in range(routers)]
        for name, process in spawned_routers:
            self.routers[name] = Member(name, process)
        for router in self.routers.values():
            until_sees(router.address, nodes, sees_by, metadata)

    def start_node(self, name: str, *flags: str) -> Member:
        process = self.spawn_node(name, *flags)
        member = self.nodes[name] = Member(name, process)
        return member

    def spawn_node(self, name: str, *flags: str, env: dict[str, str] | None = None) -> Process:
        """Starts a node without waiting for it. env: on top of its environment."""
        command = python(
            "agent_node",
            f"--node-id={name}",
            f"--etcd={self.etcd_url}",
            f"--cluster={self.name}",
            f"--data-dir={self.directory / name}",
            f"--lease-ttl-s={self.lease_ttl_s}",
            f"--audit-log={self.audit_file}",
            *flags,
        )
        return Process(command, self.directory / f"{name}.log", {"PYTHONPATH": AGENTS_PATH, **(env or {})})

    def start_router(self, name: str, *flags: str) -> Member:
        member = self.routers[name] = Member(name, self._spawn_router(name, *flags))
        return member

    def _spawn_router(self, name: str, *flags: str) -> Process:
        command = python("router", "--listen=127.0.0.1:0", f"--etcd={self.etcd_url}", f"--cluster={self.name}", *flags)
        return Process(command, self.directory / f"{name}.log")

    @property
    def router(self) -> str:
        """The first router's address."""
        return self.routers["r1"].address

    def audit(self, event: str) -> list[dict[str, Any]]:
        """The audit log's lines of one transition."""
        lines = [json.loads(line) for line in self.audit_file.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    async def until_audited(self, event: str, count: int) -> None:
        """Returns once the audit log has so many of a transition."""
        async with asyncio.timeout(20):
            while len(self.audit(event)) < count:  # noqa: ASYNC110  the event is in other processes
                await asyncio.sleep(0.02)

    def stop(self) -> None:
        members = [*self.routers.values(), *self.nodes.values()]
        for member in members:
            if member.process.returncode is None:
                member.process.send(signal.SIGCONT)
                member.process.send(signal.SIGTERM)
        for member in members:
            member.process.stop(signal.SIGTERM)


def until_sees(
    router: str,
    nodes: int,
    credentials: grpc.ChannelCredentials | None = None,
    metadata: tuple[tuple[str, str], ...] = (),
) -> None:
    """Returns once the router's ring holds so many nodes: it may have been ready before they had joined."""
    deadline_s = time.monotonic() + 20
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    with (
        grpc.secure_channel(router, credentials, options) if credentials else grpc.insecure_channel(router, options)
    ) as channel:
        stub = cluster_pb2_grpc.ClusterServiceStub(channel)
        while len(stub.GetRing(cluster_pb2.GetRingRequest(), timeout=5, metadata=metadata).members) < nodes:
            assert time.monotonic() < deadline_s, f"the router at {router} does not see {nodes} nodes"
            time.sleep(0.01)
