"""A node that is not ours: a user's server in its own process, registered in etcd, with a real router before it."""

import asyncio
import uuid
from pathlib import Path

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Put
from agentring.cluster.keys import Keys
from agentring.cluster.records import RECORD_VERSION, encode
from agentring.ids import NodeId
from agentring.v1 import cluster_pb2
from harness.cluster import TESTS
from harness.processes import Process, python


class HostedService:
    """A backend and a router on a shared etcd, apart from other clusters by its name. `stop` ends both.

    The backend is a module that prints `{"address": "host:port"}` once it serves. Its record is kept by no lease, so
    that it stands for as long as the test likes.
    """

    def __init__(self, etcd_url: str, directory: Path, module: str, *, router_flags: tuple[str, ...] = ()) -> None:
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.router_log = directory / "router.log"
        self._processes: list[Process] = []
        try:
            backend = Process(python(module), directory / "backend.log", {"PYTHONPATH": str(TESTS)})
            self._processes.append(backend)
            self.backend = backend
            asyncio.run(_register(etcd_url, Keys(name), backend.ready_line()["address"]))
            flags = ("--listen=127.0.0.1:0", f"--etcd={etcd_url}", f"--cluster={name}", *router_flags)
            router = Process(python("router", *flags), self.router_log)
            self._processes.append(router)
            # It is ready with the ring that it finds, and the backend stands on it.
            self.router: str = router.ready_line()["address"]
        except BaseException:
            self.stop()
            raise

    @property
    def port(self) -> int:
        """The router's."""
        return int(self.router.rpartition(":")[2])

    def stop(self) -> None:
        """The router first, so that it finds its node to the end."""
        for process in reversed(self._processes):
            process.stop()


async def _register(etcd_url: str, keys: Keys, address: str) -> None:
    record = cluster_pb2.NodeRecord(
        v=RECORD_VERSION, node_id="hosted", address=address, state=cluster_pb2.NODE_STATE_ACTIVE
    )
    async with EtcdClient([etcd_url]) as etcd:
        await etcd.txn([], [Put(keys.node(NodeId("hosted")), encode(record), lease_id=0)])
