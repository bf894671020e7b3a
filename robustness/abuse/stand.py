"""What is attacked: etcd and a node for all attacks, and a fresh router for each.

Guarantees that all has ended when a context is left. The router runs alone on one core, everything else on another.
"""

import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agentring.cli.local.child import Child, ChildSpec
from agentring.cli.local.cluster_file import NodeEntry
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.embedded_etcd import start_etcd
from agentring.cli.local.readiness import until_seen
from agentring.ids import NodeId
from robustness.abuse.cases import MAX_CONNECTIONS

_READY_S = 30.0
_PATIENCE_S = 10.0
_NODES = 2


@dataclass(frozen=True, slots=True)
class Stand:
    """What stands behind every router."""

    directory: Path
    etcd_url: str
    nodes: tuple[NodeEntry, ...]


@dataclass(frozen=True, slots=True)
class AttackedRouter:
    """A router."""

    address: str
    pid: int
    child: Child


def share_cores() -> tuple[int, int]:
    """Moves this process, and so all that it starts, off the router's core; the router's and its own."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    return cores[0], cores[-1]


@asynccontextmanager
async def open_stand(directory: Path) -> AsyncIterator[Stand]:
    """Starts etcd and the nodes. Raises ChildFailed, EtcdUnusable."""
    data_dir = DataDir(directory)
    async with AsyncExitStack() as stack:
        stack.enter_context(data_dir.locked())
        url = (await start_etcd(data_dir, lambda spec: _spawn(stack, spec))).url
        nodes = []
        for node_id in (NodeId(f"n{number + 1}") for number in range(_NODES)):
            flags = ("--node-id", node_id, "--listen", "127.0.0.1:0", "--data-dir", str(data_dir.node(node_id)))
            command = (sys.executable, "-m", "agent_node", *flags, "--etcd", url, "--lease-ttl-s", "60")
            child = await _spawn(stack, ChildSpec(node_id, command, data_dir.log(node_id), _PATIENCE_S))
            address = str((await child.ready_line(_READY_S))["address"])
            nodes.append(NodeEntry(node_id, address, child.pid))
        yield Stand(directory, url, tuple(nodes))


@asynccontextmanager
async def open_router(stand: Stand, core: int, flags: tuple[str, ...]) -> AsyncIterator[AttackedRouter]:
    """Starts a router on the core; flags: further ones. Raises ChildFailed."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    own = ("--listen", "127.0.0.1:0", "--etcd", stand.etcd_url, "--max-connections", str(MAX_CONNECTIONS))
    command = ("taskset", "-c", str(core), sys.executable, "-m", "router", *own, *flags)
    async with AsyncExitStack() as stack:
        log = DataDir(stand.directory).log("r1")
        child = await _spawn(stack, ChildSpec("router", command, log, _PATIENCE_S))
        address = str((await child.ready_line(_READY_S))["address"])
        await until_seen(address, stand.nodes, _READY_S)
        yield AttackedRouter(address, child.pid, child)


async def _spawn(stack: AsyncExitStack, spec: ChildSpec) -> Child:
    child = await Child.start(spec)
    stack.push_async_callback(child.stop, asyncio.Event())
    return child
