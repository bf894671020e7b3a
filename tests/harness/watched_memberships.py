"""Memberships that run, and are waited for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from agentring.cluster.clock import BootClock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.snapshot import MembershipSnapshot
from harness.conditions import PATIENCE_S

NEVER_S = 3_600.0
"""Of a reconciliation that must not be what repairs."""


@asynccontextmanager
async def running(membership: Membership) -> AsyncIterator[None]:
    task = asyncio.create_task(membership.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task


async def until(membership: Membership, holds: Callable[[MembershipSnapshot], bool]) -> MembershipSnapshot:
    """The first snapshot from now on of which this holds."""
    snapshot = membership.current
    try:
        async with asyncio.timeout(PATIENCE_S):
            while snapshot is None or not holds(snapshot):
                snapshot = await membership.next(snapshot)
    except TimeoutError:
        raise AssertionError(f"still {membership.current}") from None
    return snapshot


def has(*names: str) -> Callable[[MembershipSnapshot], bool]:
    return lambda snapshot: set(snapshot.nodes) == set(names)


def watched(etcd: EtcdClient, keys: Keys, **more: Any) -> Membership:
    return Membership(etcd, keys, BootClock(), **({"reconcile_s": NEVER_S} | more))
