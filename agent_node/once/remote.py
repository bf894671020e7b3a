"""Waits for the run of a step (`ctx.once`) that another node has: WatchRun, node to node.

Guarantees: a wait ends with the run's outcome, or once that node has no such run any more, cannot be reached, or has
said nothing for `silence_s`; an ending that it returns has been stored there. One connection for each node that is
waited for, shared by all waits and closed with the last of them. Used by Once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from grpc import aio

from agent_node.store.once_records import ENDED, Ending
from agentring.auth.caller_fields import Pairs
from agentring.errors import TaskCycle
from agentring.ids import OnceRef
from agentring.rpc.channel import NodeAt, PeerCredentials, open_node_channel
from agentring.rpc.status import read_error
from agentring.v1 import node_pb2, node_pb2_grpc

_WATCH_RUN = "/agentring.v1.NodeService/WatchRun"
SILENCE_S = 5.0
"""A node that has the run says something every second."""


@dataclass(slots=True)
class _Connection:
    channel: aio.Channel
    waits: int = 0


class RemoteRuns:
    """The other nodes' runs. Resource handling: connections end with the waits that they are for."""

    def __init__(
        self,
        credentials: Callable[[], PeerCredentials | None],
        silence_s: float = SILENCE_S,
        proof: Callable[[str, str], Pairs] = lambda _path, _address: (),
    ) -> None:
        """credentials: read for each connection; None: nodes serve plaintext; proof: the metadata of a call, by its
        path and the node's address, that prove to the node who calls."""
        self._proof = proof
        self._credentials = credentials
        self._silence_s = silence_s
        self._connections: dict[NodeAt, _Connection] = {}

    async def watch(self, ref: OnceRef, node: NodeAt, held: Collection[OnceRef]) -> Ending | None:
        """As RunWatcher. Cancellation: the wait ends here; the run goes on."""
        request = node_pb2.WatchRunRequest(
            tenant_id=ref.tenant,
            task_key=ref.task_key,
            held_task_keys=sorted(each.task_key for each in held if each.tenant == ref.tenant),
        )
        async with self._connected(node) as channel:
            call = node_pb2_grpc.NodeServiceStub(channel).WatchRun(
                request, metadata=self._proof(_WATCH_RUN, node.address)
            )
            try:
                while True:
                    async with asyncio.timeout(self._silence_s):
                        response = await call.read()
                    if not isinstance(response, node_pb2.WatchRunResponse):
                        return None
                    if response.HasField("outcome"):
                        return _ending(response.outcome)
            except TimeoutError:
                return None
            except aio.AioRpcError as error:
                if read_error(error).reason == TaskCycle.reason:
                    raise TaskCycle from None
                return None
            finally:
                call.cancel()

    @asynccontextmanager
    async def _connected(self, node: NodeAt) -> AsyncIterator[aio.Channel]:
        connection = self._connections.get(node)
        if connection is None:
            connection = self._connections[node] = _Connection(open_node_channel(node, self._credentials()))
        connection.waits += 1
        try:
            yield connection.channel
        finally:
            connection.waits -= 1
            if not connection.waits:
                del self._connections[node]
                await connection.channel.close()


def _ending(outcome: node_pb2.RunOutcome) -> Ending | None:
    if outcome.state not in ENDED:
        return None
    return Ending(outcome.state, outcome.result_json, outcome.error_type, outcome.error_text)
