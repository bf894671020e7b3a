"""An operator's way out where etcd's data were lost, restored from a backup, or replaced: a new generation.

Epochs are generation * 2^40 + revision. With a higher generation every epoch to come is higher than any before,
whatever revision etcd counts from; so routers and nodes that had closed themselves (agentring/cluster/history.py) trust
etcd again, and stores take the new epochs.

The race it prevents: a node that registers at this moment would go on under the old generation. The transaction holds
only while no node is registered, and a join holds only under the record that it has read. Called by
`agentring admin new-generation`.
"""

import uuid
from dataclasses import dataclass

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Compare, Get, Put
from agentring.cluster.history import readable_meta
from agentring.cluster.keys import Keys
from agentring.cluster.records import RECORD_VERSION, encode
from agentring.v1 import cluster_pb2


@dataclass(eq=False)
class NodesRegistered(Exception):
    """Nodes are there, which go by the generation that is."""

    node_ids: tuple[str, ...]


class GenerationUnknown(Exception):
    """etcd has no record of the cluster that can be read, and nobody said which generation it was in."""


class RecordChanged(Exception):
    """Somebody else wrote the record at the same moment."""


async def begin_new_generation(
    etcd: EtcdClient, keys: Keys, *, above: int | None = None, cluster_uuid: str = ""
) -> cluster_pb2.ClusterMeta:
    """Raises the cluster's generation and returns its new record.

    above: the highest generation that may have been used, where etcd's own record may be too low or is gone;
    cluster_uuid: what the cluster is called from now on, empty: as the record says, else a fresh name. Raises
    NodesRegistered, GenerationUnknown, also where the record cannot be read, RecordChanged, EtcdError.
    """
    found = await etcd.get(keys.meta)
    before = readable_meta(found)
    if before is None and above is None:
        raise GenerationUnknown
    meta = cluster_pb2.ClusterMeta(
        v=RECORD_VERSION,
        generation=max(above or 0, before.generation if before is not None else 0) + 1,
        cluster_uuid=cluster_uuid or (before.cluster_uuid if before is not None else str(uuid.uuid4())),
    )
    seen = Compare(keys.meta, "mod", found.mod_revision if found is not None else 0)
    nobody = Compare(keys.nodes, "create", 0, prefix=True)
    while True:
        result = await etcd.txn([seen, nobody], [Put(keys.meta, encode(meta), 0)], [Get(keys.meta)])
        if result.succeeded:
            return meta
        (now,) = result.gets
        if (now.mod_revision if now is not None else 0) != seen.revision:
            raise RecordChanged
        if nodes := (await etcd.range(keys.nodes)).kvs:
            raise NodesRegistered(tuple(keys.node_id_of(kv.key) for kv in nodes))
        # The last of them left between the two calls.
