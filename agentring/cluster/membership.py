"""Watches who is registered, and hands out snapshots.

Guarantees: each snapshot is a state that etcd was in, snapshots' revisions only grow, and a change reaches `current`
either by the watch or, if the watch lost it (several etcd releases lost watch events), by the reconciling Range that
comes at least every RECONCILE_S seconds. Does not guarantee that `current` is the newest state: ownership never rests
on it, only proposals do.

One cycle is: Range at revision r, watch from r + 1, until the watch breaks, is compacted away, or RECONCILE_S has
passed; then anew. Run by routers and nodes.
"""

import asyncio
from contextlib import aclosing
from types import MappingProxyType

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.etcd import EtcdClient
from agentring.cluster.etcd_errors import EtcdError
from agentring.cluster.etcd_types import KeyValue, WatchBatch
from agentring.cluster.keys import Keys
from agentring.cluster.records import UnreadableRecord
from agentring.cluster.snapshot import MembershipSnapshot, Node
from agentring.ids import NodeId, Revision

RECONCILE_S = 30.0
RETRY_S = 0.5

_log = structlog.get_logger()


class Membership:
    """The latest snapshot, and news of the next one.

    Resource handling: one task must run `run()`.
    """

    def __init__(self, etcd: EtcdClient, keys: Keys, clock: Clock, *, reconcile_s: float = RECONCILE_S) -> None:
        """reconcile_s: how long a watch is believed before everything is read anew."""
        self._etcd = etcd
        self._keys = keys
        self._clock = clock
        self._reconcile_s = reconcile_s
        self._current: MembershipSnapshot | None = None
        self._changed = asyncio.Event()

    @property
    def current(self) -> MembershipSnapshot | None:
        """The latest snapshot; None before the first one."""
        return self._current

    async def next(self, after: MembershipSnapshot | None) -> MembershipSnapshot:
        """The current snapshot once it is another than `after`. Cancellation: changes nothing."""
        while self._current is None or self._current is after:
            await self._changed.wait()
        return self._current

    async def run(self) -> None:
        """Follows the membership until cancelled. An etcd that does not answer leaves `current` as it was."""
        while True:
            try:
                async with asyncio.timeout(self._reconcile_s):
                    await self._cycle()
            except TimeoutError:
                continue
            except EtcdError as error:
                _log.warning("membership_watch_broken", error=str(error))
                await self._clock.sleep(RETRY_S)

    async def _cycle(self) -> None:
        state = await self._etcd.range(self._keys.nodes)
        self._publish(state.revision, self._readable(state.kvs))
        async with aclosing(self._etcd.watch(self._keys.nodes, Revision(state.revision + 1))) as batches:
            async for batch in batches:
                self._apply(batch)

    def _apply(self, batch: WatchBatch) -> None:
        assert self._current is not None
        if batch.revision <= self._current.revision:
            return
        # A record that has become unreadable is gone too, as it is for the Range.
        touched = {self._keys.node_id_of(key) for key in (*batch.deletes, *(kv.key for kv in batch.puts))}
        nodes = {node_id: node for node_id, node in self._current.nodes.items() if node_id not in touched}
        self._publish(batch.revision, nodes | self._readable(batch.puts))

    def _readable(self, kvs: tuple[KeyValue, ...]) -> dict[NodeId, Node]:
        nodes = {}
        for kv in kvs:
            try:
                nodes[self._keys.node_id_of(kv.key)] = Node.from_key_value(kv)
            except UnreadableRecord:
                _log.error("node_record_unreadable", key=kv.key)
        return nodes

    def _publish(self, revision: Revision, nodes: dict[NodeId, Node]) -> None:
        before = self._current
        if before is not None and (revision < before.revision or nodes == before.nodes):
            return
        self._current = MembershipSnapshot(revision, MappingProxyType(nodes))
        _log.info("membership_changed", revision=revision, nodes=sorted(nodes))
        self._changed.set()
        self._changed = asyncio.Event()
