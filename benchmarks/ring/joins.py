"""How soon a node that joins stands on every router's ring: real registrations, real ring views, a real etcd."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.embedded_etcd import start_etcd
from agentring.cluster.clock import BootClock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.registration import NodeIdentity, join
from agentring.ids import NodeId
from benchmarks.router.stand import spawn
from router.routing.ring_view import RingView

_KEYS = Keys("ringbench")
_LEASE_TTL_S = 600
"""Longer than the bench, so that nobody need renew."""
_POLL_S = 0.001


async def join_times_s(nodes: int, routers: int) -> list[float]:
    """For each of so many nodes that join one after the other: how long from the answer to its registration until it
    stood on every router's ring."""
    with tempfile.TemporaryDirectory(prefix="agentring-ringbench-") as directory:
        async with AsyncExitStack() as stack:
            data_dir = DataDir(Path(directory))
            stack.enter_context(data_dir.locked())
            url = (await start_etcd(data_dir, lambda spec: spawn(stack, spec))).url
            etcd = await stack.enter_async_context(EtcdClient([url]))
            views = [await stack.enter_async_context(_router(url)) for _ in range(routers)]
            return [await _join_time_s(etcd, number, views) for number in range(nodes)]


@asynccontextmanager
async def _router(etcd_url: str) -> AsyncIterator[RingView]:
    """As much of a router as follows the membership."""
    async with EtcdClient([etcd_url]) as etcd, asyncio.TaskGroup() as tasks:
        membership = Membership(etcd, _KEYS, BootClock())
        view = RingView(membership, BootClock())
        running = [tasks.create_task(membership.run()), tasks.create_task(view.run())]
        await view.synced.wait()
        yield view
        for task in running:
            task.cancel()


async def _join_time_s(etcd: EtcdClient, number: int, views: list[RingView]) -> float:
    node_id = NodeId(f"node-{number}")
    identity = NodeIdentity(node_id, f"10.0.0.{number}:7800", frozenset({"echo"}), 1, {}, boot_id="", data_uuid="")
    await join(etcd, _KEYS, BootClock(), identity, ttl_s=_LEASE_TTL_S, timeout_s=0)
    began_s = time.perf_counter()
    while any(len(view.ring) <= number for view in views):  # noqa: ASYNC110  the views have no event for it
        await asyncio.sleep(_POLL_S)
    return time.perf_counter() - began_s
