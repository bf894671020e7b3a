"""Whether the node's store is the cluster's, as it was: asked before each join, watched while the node is registered.

Guarantees: a node joins with a store that has everything which etcd's record of it says was there; one whose store is
replaced, removed or goes back in time is fenced, and writes that down for those that start with what is there now
(agentring/cluster/store_record.py). It rejoins once the store that it had opened is back, and not before.

What falls short: an older copy that is put in the place of a store which no node has open is known by the store's clock
(store/sql/shared_clock.py), so one that is younger than what was written down last, some seconds, is not. Owned by the
node's app, asked by its incarnations.
"""

from collections.abc import Callable
from contextlib import suppress

import structlog

from agent_node.store import opening
from agent_node.store.opening import ClusterIdentity
from agent_node.store.sql.sessions import SqlStore
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.keys import Keys
from agentring.cluster.lease import FenceReason, Lease
from agentring.cluster.store_record import (
    MEMORY,
    StoreIdentity,
    StoreNotAccepted,
    change_record,
    find_record,
)
from agentring.errors import StoreUnavailable
from agentring.v1.cluster_pb2 import StoreRecord

_RECORD_EVERY_NS = 5_000_000_000

_log = structlog.get_logger()


class StoreGuard:
    """Of one node. Resource handling: one task must run `run()`."""

    def __init__(
        self, durable: SqlStore | None, etcd: EtcdClient, keys: Keys, identity: Callable[[], ClusterIdentity]
    ) -> None:
        """durable: None: the node keeps sessions in memory, and there is nothing to guard. identity: whose store it
        must be, as of now."""
        self._durable = durable
        self._etcd = etcd
        self._keys = keys
        self._identity = identity
        self._was_admitted = False
        self._recorded_ns = 0

    @property
    def store(self) -> StoreIdentity:
        """What the node joins with."""
        if self._durable is None:
            return StoreIdentity(MEMORY)
        return StoreIdentity(self._durable.uuid, self._durable.driver.file)

    async def run(self) -> None:
        """Moves the store's clock on and writes down how far it is, until cancelled."""
        if self._durable is not None:
            await self._durable.clock.run(self._record)

    async def admit(self) -> None:
        """Before a join: lets the store follow the cluster's generation. Raises StoreNotAccepted, StoreRefused,
        StoreUnavailable, EtcdError."""
        if self._durable is None:
            return
        await opening.enter_generation(self._durable, self._identity())
        record, _ = await find_record(self._etcd, self._keys)
        now_ns = await self._durable.clock.tick()  # later than the record: that one is never ahead
        if record is None or record.store_uuid != self._durable.uuid:
            return
        if now_ns < record.clock_ns:
            behind_s = (record.clock_ns - now_ns) // 1_000_000_000
            raise StoreNotAccepted(f"the store is an older copy, by {behind_s} s of its own clock")
        if record.replaced and self._was_admitted:  # and the store that this process had open then is back, untouched
            await change_record(self._etcd, self._keys, self._durable.uuid, _is_back)

    def admitted(self) -> None:
        """The node has joined."""
        self._was_admitted = True

    async def watch(self, lease: Lease) -> None:
        """Fences the node once the store is not what was opened."""
        if self._durable is not None:
            await self._durable.driver.replaced.wait()
            lease.fence(FenceReason.STORE_REPLACED)

    async def record_replacement(self) -> None:
        """Writes down that the store was found replaced, if etcd takes it."""
        if self._durable is None:
            return
        try:
            await change_record(self._etcd, self._keys, self._durable.uuid, _is_replaced)
        except EtcdError as error:
            _log.warning("store_replacement_not_recorded", error=str(error))

    async def leave(self) -> None:
        """The node has left: the store's clock is as far on as it can be, and etcd knows."""
        if self._durable is None or not self._was_admitted:
            return
        with suppress(StoreUnavailable, EtcdError):
            await self._record(await self._durable.clock.tick(last=True), at_once=True)

    async def _record(self, now_ns: int, *, at_once: bool = False) -> None:
        assert self._durable is not None
        if now_ns < self._recorded_ns + (0 if at_once else _RECORD_EVERY_NS) or not self._was_admitted:
            return

        def raise_mark(record: StoreRecord) -> bool:
            is_later = record.clock_ns < now_ns
            record.clock_ns = max(record.clock_ns, now_ns)
            return is_later

        try:
            await change_record(self._etcd, self._keys, self._durable.uuid, raise_mark)
            self._recorded_ns = now_ns
        except EtcdError as error:
            _log.info("store_clock_not_recorded", error=str(error))


def _is_replaced(record: StoreRecord) -> bool:
    was = record.replaced
    record.replaced = True
    return not was


def _is_back(record: StoreRecord) -> bool:
    was = record.replaced
    record.replaced = False
    return was
