"""The cluster that is disturbed: etcd, three nodes and two routers as processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from harness.cluster import Cluster
from harness.etcd import EtcdProcess
from harness.postgres import PostgresProcess

_PATIENCE_TTLS = 10
"""How many TTLs a stream waits for its next owner: with a TTL of 3 s the routers' default."""


@asynccontextmanager
async def disturbed_cluster(
    store: str, ttl: int, directory: Path, *flags: str
) -> AsyncIterator[tuple[Cluster, tuple[str, ...]]]:
    """It, and the flags with which its nodes are started again. store: sqlite, postgresql (one of its own), or the
    nodes' --store; flags: more of the nodes'."""
    async with AsyncExitStack() as stack:
        etcd = await asyncio.to_thread(EtcdProcess, directory)
        stack.push_async_callback(asyncio.to_thread, etcd.stop)
        if store == "postgresql":
            postgres = await asyncio.to_thread(PostgresProcess, directory / "postgresql")
            stack.push_async_callback(asyncio.to_thread, postgres.stop)
            store = postgres.database()
        node_flags = flags if store == "sqlite" else (*flags, f"--store={store}")
        cluster = Cluster(etcd.url, directory, lease_ttl_s=ttl)
        stack.push_async_callback(asyncio.to_thread, cluster.stop)
        # A node that takes over may be the next to be killed, and the one after it, too.
        patience = f"--reattach-timeout-s={_PATIENCE_TTLS * ttl}"
        await asyncio.to_thread(cluster.start, nodes=3, routers=2, flags=node_flags, router_flags=(patience,))
        yield cluster, node_flags
