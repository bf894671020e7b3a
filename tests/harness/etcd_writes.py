"""Writes to etcd, and what a watch delivers of them, read with a deadline."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Put, WatchBatch
from agentring.ids import Revision
from harness.conditions import PATIENCE_S


async def put(etcd: EtcdClient, key: str, value: bytes = b"", lease_id: int = 0) -> Revision:
    # The client's own time-out is for those who would ask another member; a test has nothing better to do than to wait.
    return (await etcd.txn([], [Put(key, value, lease_id)], timeout_s=PATIENCE_S)).revision


async def until(batches: AsyncGenerator[WatchBatch, None], revision: Revision) -> list[WatchBatch]:
    """What a watch says up to a revision."""
    found = []
    async with asyncio.timeout(PATIENCE_S), aclosing(batches):
        async for batch in batches:
            found.append(batch)
            if batch.revision >= revision:
                break
    return found
