"""Watches who is registered, and hands out snapshots.

Guarantees: each snapshot is a state that etcd was in, snapshots' revisions only grow, and a change reaches `current`
either by the watch or, if the watch lost it (several etcd releases lost watch events), by the reconciling Range that
comes at least every RECONCILE_S seconds. Where etcd's data went back in time or are another cluster's, nothing is
served (`current` is None) until an operator has begun a new generation (agentring/cluster/history.py). Does not
guarantee that `current` is the newest state: ownership never rests on it, only proposals do.

One cycle is: is the history whole? Range at revision r, watch from r + 1. A watch that breaks is resumed after the last
revision that was applied; one that was compacted away or has been silent for long, and any after RECONCILE_S, is
followed by a new Range. A response is applied whole, and not at all at or below what was applied. Run by routers and
nodes.
"""

import asyncio
from contextlib import aclosing
from types import MappingProxyType

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdCompacted, EtcdError, EtcdHistoryBroken, EtcdSilent
from agentring.cluster.etcd.types import KeyValue, WatchBatch
from agentring.cluster.history import ClusterHistory
from agentring.cluster.keys import Keys
from agentring.cluster.records import UnreadableRecord
from agentring.cluster.snapshot import MembershipSnapshot, Node, Stray
from agentring.ids import Incarnation, NodeId, Revision

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
        self._applied: Revision | None = None
        """`current` is the state at this revision too; None: everything is to be read anew."""
        self._generation = 0
        """Of the cluster's life that `_applied` counts in."""
        self.history = ClusterHistory(etcd, keys)
        """The process's own; its `begin` is called before `run`, or by the first join."""
        self.closed = asyncio.Event()
        """Set while etcd's history is broken: there is no snapshot to go by."""

    @property
    def current(self) -> MembershipSnapshot | None:
        """The latest snapshot; None before the first one, while the history is broken, whoever noticed it, and until
        there is one of the cluster's present generation."""
        return None if self.history.broken or self._generation != self.history.generation else self._current

    def node(self, node_id: NodeId) -> Node | None:
        """A node of the latest snapshot."""
        current = self.current
        return current.nodes.get(node_id) if current is not None else None

    async def next(self, after: MembershipSnapshot | None) -> MembershipSnapshot:
        """The current snapshot once it is another than `after`. Cancellation: changes nothing."""
        while (current := self.current) is None or current is after:
            await self._changed.wait()
        return current

    async def run(self) -> None:
        """Follows the membership until cancelled. An etcd that does not answer leaves `current` as it was."""
        while True:
            try:
                async with asyncio.timeout(self._reconcile_s):
                    await self._cycle()
            except TimeoutError:
                self._applied = None
            except (EtcdCompacted, EtcdSilent) as error:
                self._applied = None
                _log.warning("membership_watch_useless", error=str(error))
            except EtcdHistoryBroken:
                self._close()
                await self._clock.sleep(RETRY_S)
            except EtcdError as error:
                _log.warning("membership_watch_broken", error=str(error))
                await self._clock.sleep(RETRY_S)

    async def _cycle(self) -> None:
        await self.history.check()
        if self._generation != self.history.generation:
            self._generation = self.history.generation
            self._current = self._applied = None  # revisions of the old life mean nothing in the new one
        if self._applied is None:
            state = await self._etcd.range(self._keys.nodes)
            self._publish(state.revision, *self._sorted(state.kvs))
        assert self._applied is not None
        async with aclosing(self._etcd.watch(self._keys.nodes, Revision(self._applied + 1))) as batches:
            async for batch in batches:
                self._apply(batch)

    def _apply(self, batch: WatchBatch) -> None:
        assert self._current is not None
        assert self._applied is not None
        # Invariant: snapshots' revisions only grow (tests/unit/agentring/cluster/test_membership_rules.py).
        if batch.revision <= self._applied:
            return
        # A record that has become unreadable is gone too, as it is for the Range.
        touched = {self._keys.node_id_of(key) for key in (*batch.deletes, *(kv.key for kv in batch.puts))}
        nodes = {node_id: node for node_id, node in self._current.nodes.items() if node_id not in touched}
        strays = {node_id: stray for node_id, stray in self._current.strays.items() if node_id not in touched}
        new_nodes, new_strays = self._sorted(batch.puts)
        self._publish(batch.revision, nodes | new_nodes, strays | new_strays)

    def _sorted(self, kvs: tuple[KeyValue, ...]) -> tuple[dict[NodeId, Node], dict[NodeId, Stray]]:
        """The nodes that the records tell of, and the records that no node has written so, which may be both."""
        nodes: dict[NodeId, Node] = {}
        strays: dict[NodeId, Stray] = {}
        for kv in kvs:
            node = self._node(kv)
            if node is not None:
                nodes[node.node_id] = node
            if node is None or not kv.lease_id or kv.lease_id != node.lease_id:
                stray = Stray(
                    Incarnation(kv.create_revision),
                    kv.mod_revision,
                    readable=node is not None,
                    leased=kv.lease_id != 0,
                )
                strays[self._keys.node_id_of(kv.key)] = stray
                _log.error("node_record_odd", key=kv.key, readable=stray.readable, leased=stray.leased)
        return nodes, strays

    def _node(self, kv: KeyValue) -> Node | None:
        """None: the record cannot be read, or names another node than its key does."""
        try:
            node = Node.from_key_value(kv)
        except UnreadableRecord:
            return None
        return node if self._keys.node(node.node_id) == kv.key else None

    def _publish(self, revision: Revision, nodes: dict[NodeId, Node], strays: dict[NodeId, Stray]) -> None:
        self._applied = revision
        self.closed.clear()
        before = self._current.nodes if self._current is not None else None
        if self._current is not None and (nodes, strays) == (before, self._current.strays):
            return
        self._current = MembershipSnapshot(revision, MappingProxyType(nodes), MappingProxyType(strays))
        changed = sorted(node_id for node_id, node in nodes.items() if (before or {}).get(node_id) != node)
        left = sorted((before or {}).keys() - nodes.keys())
        _log.info("membership_changed", revision=revision, nodes=len(nodes), changed=changed, left=left)
        self._changed.set()
        self._changed = asyncio.Event()

    def _close(self) -> None:
        self._current = self._applied = None
        if not self.closed.is_set():
            _log.error("membership_closed")  # why is in the history's own line
            self.closed.set()
