"""What stands behind every proxy: the two made-up nodes and, for routers, an etcd in which they are registered.

Guarantees that everything runs on loopback and free ports, off the proxy's core, and has ended when `open_stand` is
left, however it is left. The nodes host the agent `echo` and hold leases that are kept alive for as long as that.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from agentring.cli.local.child import Child, ChildSpec
from agentring.cli.local.cluster_file import NodeEntry
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.embedded_etcd import start_etcd
from agentring.cli.local.ports import LOOPBACK, free_ports, join_address
from agentring.cluster.clock import BootClock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.cluster.registration import NodeIdentity, join
from agentring.ids import NodeId
from benchmarks.router.build import Tools
from benchmarks.router.proxies import Site

_CLUSTER = "bench"
_NODES = ("bench-1", "bench-2")
_READY_DEADLINE_S = 10.0
_PATIENCE_S = 5.0
_LEASE_TTL_S = 60


@asynccontextmanager
async def open_stand(tools: Tools, directory: Path, *, core: int, with_etcd: bool) -> AsyncIterator[Site]:
    """Starts the nodes and, where wanted, etcd; `core` is the proxies'. Raises ChildFailed, EtcdUnusable, EtcdError."""
    async with AsyncExitStack() as stack:
        stack.enter_context(DataDir(directory).locked())
        nodes = await _start_nodes(stack, tools.node, directory)
        etcd_url = await _register(stack, directory, nodes) if with_etcd else ""
        yield Site(directory, core, nodes, etcd_url, _CLUSTER)


async def spawn(stack: AsyncExitStack, spec: ChildSpec) -> Child:
    """A child that ends with the stack."""
    child = await Child.start(spec)
    stack.push_async_callback(child.stop, asyncio.Event())
    return child


async def _start_nodes(stack: AsyncExitStack, program: Path, directory: Path) -> tuple[NodeEntry, ...]:
    ports = free_ports(len(_NODES))
    listens = tuple(f"{name}:{port}" for name, port in zip(_NODES, ports, strict=True))
    child = await spawn(stack, ChildSpec("nodes", (str(program), *listens), directory / "nodes.log", _PATIENCE_S))
    await child.ready_line(_READY_DEADLINE_S)
    return tuple(
        NodeEntry(NodeId(name), join_address(LOOPBACK, port), child.pid)
        for name, port in zip(_NODES, ports, strict=True)
    )


async def _register(stack: AsyncExitStack, directory: Path, nodes: tuple[NodeEntry, ...]) -> str:
    url = (await start_etcd(DataDir(directory), lambda spec: spawn(stack, spec))).url
    etcd = await stack.enter_async_context(EtcdClient((url,)))
    clock = BootClock()
    for node in nodes:
        identity = NodeIdentity(node.id, node.address, frozenset({"echo"}), 1, {}, boot_id="", data_uuid="")
        registration = await join(etcd, Keys(_CLUSTER), clock, identity, ttl_s=_LEASE_TTL_S, timeout_s=0)
        stack.push_async_callback(_end, asyncio.create_task(registration.lease.keep()))
    return url


async def _end(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.wait([task])
