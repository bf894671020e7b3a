"""Whether etcd's data are still those that this process began with.

Guarantees: once this process has seen a revision, no answer from before it counts; once it knows the cluster's uuid
and generation, no other cluster's data count. Where they are lost, restored from an older state or replaced, it fails
closed: reads and transactions raise EtcdHistoryBroken (so nothing is claimed, joined or routed by them) until the
record `meta` has a higher generation, which makes every later epoch higher than all before. Only an operator raises it
(agentring/cluster/new_generation.py).

The race it prevents: a wiped etcd counts from 1 again, so a node could claim a session under an epoch that is lower
than one which has already written. Does not guarantee to notice a restored etcd that has overtaken what this process
had seen before it was asked again; the store's compare of epochs stands behind it.

One for a process: membership asks `check` whenever it begins or resumes a watch, a node before each join.
"""

import uuid

import structlog

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdHistoryBroken
from agentring.cluster.etcd.types import Compare, Get, KeyValue, Put
from agentring.cluster.keys import Keys
from agentring.cluster.records import RECORD_VERSION, UnreadableRecord, decode_meta, encode
from agentring.ids import Revision
from agentring.v1 import cluster_pb2

_log = structlog.get_logger()


class ClusterHistory:
    """What this process knows of the cluster's life."""

    def __init__(self, etcd: EtcdClient, keys: Keys) -> None:
        """Knows nothing before `begin`; until then only revisions are watched over."""
        self._etcd = etcd
        self._keys = keys
        self._meta: cluster_pb2.ClusterMeta | None = None
        self._meta_revision = Revision(0)
        self._trouble_logged = False
        """Whether it was logged that the history is broken."""

    @property
    def broken(self) -> bool:
        """Whether etcd's data are not believed."""
        return self._etcd.history_broken

    @property
    def generation(self) -> int:
        """The generation of the cluster's record; 0 before `begin`."""
        return self._meta.generation if self._meta is not None else 0

    @property
    def cluster_uuid(self) -> str:
        """The uuid of the cluster's record; empty before `begin`."""
        return self._meta.cluster_uuid if self._meta is not None else ""

    @property
    def unchanged(self) -> Compare:
        """Holds in a transaction if the cluster's record is the one that was last checked."""
        return Compare(self._keys.meta, "mod", self._meta_revision)

    async def begin(self) -> None:
        """Learns the cluster's record, which is made by whoever comes first; later calls are `check`. Raises
        EtcdError."""
        if self._meta is None:
            await ensure_meta(self._etcd, self._keys)
        await self.check()

    async def check(self) -> None:
        """Asks etcd whether its data are still the same. Raises EtcdHistoryBroken if not, EtcdError."""
        known_revision, life = self._etcd.newest_revision, self._etcd.life
        found = await self._etcd.look(self._keys.meta)
        if life != self._etcd.life:
            known_revision = Revision(0)  # it was of the life before: somebody else's check came in between
        kv = found.kvs[0] if found.kvs else None
        meta = readable_meta(kv)
        known = self._meta
        if kv is not None and meta is not None and (known is None or meta.generation > known.generation):
            self._meta, self._meta_revision = meta, kv.mod_revision
            if known is not None:
                _log.warning("cluster_generation_changed", generation=meta.generation, before=known.generation)
                self._etcd.begin_anew(found.revision)
                self._trouble_logged = False
                return
            known = meta
        if self.broken or found.revision < known_revision or (known is not None and meta != known):
            self._etcd.distrust()
            self._log_once(known_revision, found.revision, meta)
            raise EtcdHistoryBroken

    def _log_once(self, known: Revision, found: Revision, meta: cluster_pb2.ClusterMeta | None) -> None:
        """Logs once what an operator needs for a new generation, whoever noticed first."""
        if self._trouble_logged:
            return
        self._trouble_logged = True
        _log.error(
            "etcd_history_broken",
            generation=self.generation,
            cluster_uuid=self.cluster_uuid,
            revision=known,
            found_revision=found,
            found_cluster_uuid=meta.cluster_uuid if meta is not None else "",
        )


async def ensure_meta(etcd: EtcdClient, keys: Keys) -> cluster_pb2.ClusterMeta:
    """The cluster's meta record, made by whoever comes first. Raises EtcdError, EtcdPermissionDenied where it is to be
    made and may not be, EtcdHistoryBroken where it cannot be read."""
    # Looked for first: etcd's access control refuses a transaction that might write it, whether or not it would.
    existing: KeyValue | None = await etcd.get(keys.meta)
    if existing is not None:
        return _readable(keys, existing)
    fresh = cluster_pb2.ClusterMeta(v=RECORD_VERSION, generation=1, cluster_uuid=str(uuid.uuid4()))
    result = await etcd.txn([Compare(keys.meta, "create", 0)], [Put(keys.meta, encode(fresh), 0)], [Get(keys.meta)])
    if result.succeeded:
        return fresh
    (existing,) = result.gets
    return _readable(keys, existing)


def _readable(keys: Keys, existing: KeyValue | None) -> cluster_pb2.ClusterMeta:
    if (meta := readable_meta(existing)) is None:
        raise EtcdHistoryBroken(f"the cluster's record {keys.meta} cannot be read")
    return meta


def readable_meta(kv: KeyValue | None) -> cluster_pb2.ClusterMeta | None:
    """The cluster's record; None: there is none, or it cannot be read."""
    try:
        return decode_meta(kv.value) if kv is not None else None
    except UnreadableRecord:
        return None
