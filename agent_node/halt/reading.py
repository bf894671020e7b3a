"""Keeps a node's halts as etcd and the store have them.

Guarantees: a node begins to serve once it has read both, after it has joined; it reads both again as often as it renews
its lease, whatever its watch says; and one that renews its lease, but could not read etcd's for as long as a lease
lasts without a renewal and an interval more, is fenced. So what is halted stops within a renewal's interval on a node
that no router reaches, and by its lease's fence on one that is cut off altogether. One look at a time: what is older
never comes last.

The watch is what is fast, and nothing rests on it. Where etcd's history is broken what was known stands. Run by the
node's app, and for each of its incarnations.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing

import structlog

from agent_node.halt.halts import Halts
from agent_node.store.halt_store import HaltStore
from agentring.cluster import halts as records
from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.halts import Halt, HaltScope
from agentring.cluster.keys import Keys
from agentring.cluster.lease import RENEWALS_PER_TTL, FenceReason, Lease
from agentring.errors import StoreUnavailable
from agentring.ids import Revision

_ANEW_S = 30.0
"""How long a watch is believed."""
_RETRY_S = 0.25

_log = structlog.get_logger()


class HaltReader:
    """Of one process. Resource handling: one task must run `run`, and one for each incarnation `keep`."""

    def __init__(self, etcd: EtcdClient, keys: Keys, clock: Clock, store: HaltStore | None) -> None:
        """store: None: there is none that outlives the node."""
        self._etcd = etcd
        self._keys = keys
        self._clock = clock
        self._store = store
        self.halts = Halts()
        self._looking = asyncio.Lock()
        self._seen: tuple[int, Revision] = (0, Revision(0))
        """Of which life of etcd's, and which revision, what is known of it is."""
        self._by_key: Mapping[str, Halt] = {}

    @property
    def is_durable(self) -> bool:
        """Whether there is a store that outlives the node."""
        return self._store is not None

    async def run(self) -> None:
        """Watches etcd until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_ANEW_S):
                    await self._watch(await self._read_etcd())
            except TimeoutError:
                pass
            except EtcdError as error:
                _log.info("halts_watch_broken", error=str(error))
                await self._clock.sleep(_RETRY_S)

    async def begin(self, lease: Lease) -> None:
        """Returns once both were read, or the lease is over."""
        due_s = self._clock.now_s() + _patience_s(lease)
        while lease.reason is None:
            try:
                await self.read()
                return
            except (EtcdError, StoreUnavailable) as error:
                _log.warning("halts_not_read", error=str(error))
            if self._clock.now_s() >= due_s:
                lease.fence(FenceReason.HALTS_UNREAD)
            await self._clock.sleep(_RETRY_S)

    async def keep(self, lease: Lease) -> None:
        """Reads both with each renewal's interval, until cancelled; fences a node that cannot."""
        read_s = self._clock.now_s()
        while True:
            due_s = read_s + _patience_s(lease)
            left_s = max(0.0, due_s - self._clock.now_s())
            await self._clock.sleep(min(lease.ttl_s / RENEWALS_PER_TTL, left_s))
            asked_s = self._clock.now_s()
            try:
                async with asyncio.timeout(max(_RETRY_S, due_s - asked_s)):
                    await self._read_etcd()
                read_s = asked_s
            except (EtcdError, TimeoutError) as error:
                _log.warning("halts_not_read", error=str(error))
                if self._clock.now_s() >= due_s:
                    lease.fence(FenceReason.HALTS_UNREAD)
                    return
            try:
                await self._read_store()
            except StoreUnavailable as error:
                _log.info("halts_of_store_not_read", reason=error.reason)

    async def read(self) -> None:
        """Raises EtcdError, StoreUnavailable."""
        await self._read_etcd()
        await self._read_store()

    async def store(self, halt: Halt) -> None:
        """Has the store keep a halt. Raises StoreUnavailable."""
        if self._store is not None:
            await self._store.keep(halt)

    async def remove(self, scope: HaltScope) -> None:
        """Has the store forget the halt of a scope. Raises StoreUnavailable."""
        if self._store is not None:
            await self._store.remove(scope)

    async def _read_etcd(self) -> Revision:
        async with self._looking:
            state = await self._etcd.range(self._keys.halts)
            self._see(state.revision, records.decoded(state.kvs))
            return state.revision

    async def _read_store(self) -> None:
        if self._store is None:
            return
        async with self._looking:
            self.halts.see_store(await self._store.read())

    async def _watch(self, revision: Revision) -> None:
        async with aclosing(self._etcd.watch(self._keys.halts, Revision(revision + 1))) as batches:
            async for batch in batches:
                touched = {*batch.deletes, *(kv.key for kv in batch.puts)}
                left = {key: halt for key, halt in self._by_key.items() if key not in touched}
                self._see(batch.revision, {**left, **records.decoded(batch.puts)})

    def _see(self, revision: Revision, by_key: Mapping[str, Halt]) -> None:
        life, seen = self._seen
        # Invariant: an older state never replaces a newer one (tests/unit/agent_node/halt/test_reading.py).
        if life == self._etcd.life and revision < seen:
            return
        self._seen = self._etcd.life, revision
        self._by_key = by_key
        self.halts.see_etcd(by_key.values())


def _patience_s(lease: Lease) -> float:
    """For how long a node serves without a look. The lease of one that cannot renew it either ends before."""
    return lease.ttl_s - lease.margin_s + lease.ttl_s / RENEWALS_PER_TTL
