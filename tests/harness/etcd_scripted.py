"""An etcd in memory that says what a test wants, under the revision that the test wants."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdUnavailable
from agentring.cluster.etcd.types import WatchBatch
from agentring.cluster.keys import Keys
from agentring.cluster.records import encode
from agentring.ids import Revision
from agentring.v1 import cluster_pb2


class ScriptedEtcd(EtcdClient):
    """Answers reads from `values` under `revision`, and watches with what is put into `watches`."""

    def __init__(self, keys: Keys) -> None:
        super().__init__(["127.0.0.1:1"])
        self.keys = keys
        self.revision = 10
        self.values: dict[str, bytes] = {}
        self.reachable = True
        self.ranges = 0
        self.asked: asyncio.Queue[Revision] = asyncio.Queue()
        """The revision that each watch began with."""
        self.watches: asyncio.Queue[WatchBatch | Exception] = asyncio.Queue()
        """What the watch under way says or ends with."""
        self.answering = asyncio.Event()
        """Cleared: reads that have been sent are not answered yet."""
        self.answering.set()

    def set_meta(self, cluster_uuid: str, generation: int = 1) -> None:
        meta = cluster_pb2.ClusterMeta(v=1, generation=generation, cluster_uuid=cluster_uuid)
        self.values[self.keys.meta] = encode(meta)

    def set_node(self, name: str) -> None:
        record = cluster_pb2.NodeRecord(v=1, node_id=name, address=f"{name}:1", state=cluster_pb2.NODE_STATE_ACTIVE)
        self.values[f"{self.keys.nodes}{name}"] = encode(record)

    async def _read(self, request: Any) -> Any:
        await asyncio.sleep(0)
        if not self.reachable:
            raise EtcdUnavailable
        begin, end = request.key.decode(), request.range_end.decode()
        self.ranges += bool(end)
        kvs = [
            SimpleNamespace(key=key.encode(), value=value, create_revision=1, mod_revision=1, lease=0)
            for key, value in self.values.items()
            if key == begin or (end and begin <= key < end)
        ]
        answer = SimpleNamespace(header=SimpleNamespace(revision=self.revision), kvs=kvs)
        await self.answering.wait()
        return answer

    async def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        self.asked.put_nowait(from_revision)
        while True:
            said = await self.watches.get()
            if isinstance(said, Exception):
                raise said
            self._newest_revision = max(self._newest_revision, said.revision)
            yield said
