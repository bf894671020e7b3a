"""Nodes that claim, as nodes do: through the node's own code, on this event loop."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from agentring.cluster.claim import Claims
from agentring.cluster.clock import BootClock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.cluster.registration import NodeIdentity, Registration, join
from agentring.errors import NotOwner
from agentring.ids import NodeId, SessionRef

KEYS = Keys("claiming")
_LEASE_TTL_S = 600
"""Longer than the bench, so that nobody need renew."""


async def registered(etcd: EtcdClient, name: str) -> Registration:
    """A node that has joined."""
    identity = NodeIdentity(NodeId(name), "127.0.0.1:1", frozenset({"echo"}), 1, {}, boot_id="", data_uuid="")
    return await join(etcd, KEYS, BootClock(), identity, ttl_s=_LEASE_TTL_S, timeout_s=0)


async def claim_all(
    etcd: EtcdClient,
    tasks: asyncio.TaskGroup,
    node: Registration,
    refs: Sequence[SessionRef],
    concurrency: int,
    max_group: int,
) -> float:
    """Seconds for claiming them all, but those that others hold."""
    claims = Claims(etcd, KEYS, node, tasks, timeout_s=60.0, max_group=max_group)
    waiting = iter(refs)

    async def work() -> None:
        for ref in waiting:
            with suppress(NotOwner):
                await claims.claim(ref)

    began_s = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return time.perf_counter() - began_s
