"""Removes stray node records, which have no lease and no node that puts them right: they would stay for ever.

A node writes its key under its lease, and puts it again where somebody else has written it (Registration.compare_with).
A key without a lease that two looks a TTL apart find unchanged therefore has no node behind it that lives and reaches
etcd, and one that does not reach it is fenced by then. It is deleted IF it is still as it was. With it the claims that
name it are nobody's (orphaned_claims.py). Run by every node.
"""

from collections.abc import Callable

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.etcd.types import Compare, Delete
from agentring.cluster.keys import Keys
from agentring.cluster.snapshot import MembershipSnapshot, Stray
from agentring.ids import NodeId

_log = structlog.get_logger()


class StraySweep:
    """One node's looks."""

    def __init__(
        self,
        etcd: EtcdClient,
        keys: Keys,
        clock: Clock,
        membership: Callable[[], MembershipSnapshot | None],
        node_id: NodeId,
        *,
        interval_s: float,
    ) -> None:
        """membership: as it is now; node_id: whose own key is not looked at; interval_s: the lease's TTL."""
        self._etcd = etcd
        self._keys = keys
        self._clock = clock
        self._membership = membership
        self._node_id = node_id
        self._interval_s = interval_s
        self._seen: dict[NodeId, Stray] = {}

    async def run(self) -> None:
        """Looks once an interval, until cancelled."""
        while True:
            await self._clock.sleep(self._interval_s)
            await self.sweep()

    async def sweep(self) -> None:
        """Takes away what the last look found too and what has not changed since."""
        snapshot = self._membership()
        before, self._seen = self._seen, {}
        for node_id, stray in snapshot.strays.items() if snapshot is not None else ():
            if node_id == self._node_id or stray.leased:
                continue
            self._seen[node_id] = stray
            if before.get(node_id) == stray:
                await self._remove(node_id, stray)

    async def _remove(self, node_id: NodeId, stray: Stray) -> None:
        key = self._keys.node(node_id)
        try:
            result = await self._etcd.txn([Compare(key, "mod", stray.mod_revision)], [Delete(key)])
        except EtcdError:
            return  # the next look will find it
        if result.succeeded:
            _log.warning("node_record_removed", node_id=node_id, readable=stray.readable)
