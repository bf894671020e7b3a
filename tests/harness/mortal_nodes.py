"""Nodes played by h2 that die of some calls, registered in etcd, so that a real router sends them its calls."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Put
from agentring.cluster.keys import Keys
from agentring.cluster.records import RECORD_VERSION, encode
from agentring.ids import NodeId
from agentring.v1 import cluster_pb2

DEADLY = "x-deadly"
"""A call with this field ends the node's connections, without an answer."""


class MortalNodes:
    """Several nodes. A node that has died takes no connections any more."""

    def __init__(self, holds_back: int) -> None:
        """holds_back: the first node that is asked answers nothing before it has so many calls."""
        self.cluster = f"test-{uuid.uuid4().hex[:12]}"
        self.deaths = 0
        self.asked: Counter[str] = Counter()
        """How often each call came, by its field call-id."""
        self.holds_back = holds_back

    async def start(self, etcd_url: str, count: int, stack: AsyncExitStack) -> None:
        keys = Keys(self.cluster)
        async with EtcdClient([etcd_url]) as etcd:
            for number in range(count):
                node = _Node(self)
                await stack.enter_async_context(node.serving())
                name = f"mortal{number}"
                record = cluster_pb2.NodeRecord(
                    v=RECORD_VERSION, node_id=name, address=node.address, state=cluster_pb2.NODE_STATE_ACTIVE
                )
                await etcd.txn([], [Put(keys.node(NodeId(name)), encode(record), lease_id=0)])


class _Node:
    def __init__(self, all_nodes: MortalNodes) -> None:
        self.nodes = all_nodes
        self.address = ""
        self.writers: set[asyncio.StreamWriter] = set()
        self._served: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            self._end()
            await asyncio.gather(*self._served, return_exceptions=True)

    def die(self) -> None:
        self.nodes.deaths += 1
        self._end()

    def _end(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._served.add(task)
        self.writers.add(writer)
        talk = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        talk.initiate_connection()
        writer.write(talk.data_to_send())
        calls: dict[int, dict[str, str]] = {}
        answered: set[int] = set()
        try:
            while data := await reader.read(1 << 16):
                for event in talk.receive_data(data):
                    if isinstance(event, events.RequestReceived):
                        fields = {str(name): str(value) for name, value in event.headers}
                        calls[event.stream_id] = fields
                        self.nodes.asked[fields["call-id"]] += 1
                    elif isinstance(event, events.StreamReset):
                        answered.add(event.stream_id)
                if len(calls) >= self.nodes.holds_back:
                    self.nodes.holds_back = 0
                    self._answer(talk, calls, answered)
                writer.write(talk.data_to_send())
        except OSError:
            pass
        finally:
            self.writers.discard(writer)
            writer.transport.abort()

    def _answer(self, talk: H2Connection, calls: dict[int, dict[str, str]], answered: set[int]) -> None:
        deadly = any(DEADLY in fields for fields in calls.values())
        if deadly and not self.nodes.deaths:
            self.die()  # with all that it has
            return
        for stream_id in calls.keys() - answered:
            if DEADLY not in calls[stream_id]:
                answered.add(stream_id)
                fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]
                talk.send_headers(stream_id, fields, end_stream=True)
        if deadly:
            asyncio.get_running_loop().call_later(0.2, self.die)


@asynccontextmanager
async def mortal_nodes(etcd_url: str, count: int, *, holds_back: int) -> AsyncIterator[MortalNodes]:
    """The nodes, registered."""
    nodes = MortalNodes(holds_back)
    async with AsyncExitStack() as stack:
        await nodes.start(etcd_url, count, stack)
        yield nodes
