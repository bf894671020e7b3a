"""How far this node's wall clock is from the other nodes': reported to people, since nothing is decided by it.

Guarantees: a node whose wall clock is further from the others' than it may be does not join; one that comes to be so
later stays, and says so (log, metric). The others are asked for their time directly, so what is known is exact to half
of the call's time; the median of a few of them counts, so that one that is wrong itself accuses nobody where there are
three. Owned by the node's app, asked by its incarnations.
"""

import asyncio
import time
from collections.abc import Callable
from statistics import median

import structlog
from grpc import aio

from agentring.auth.peer_calls import peer_metadata
from agentring.auth.signatures import Signer
from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import KeyValue
from agentring.cluster.keys import Keys
from agentring.cluster.records import UnreadableRecord
from agentring.cluster.snapshot import Node
from agentring.ids import NodeId
from agentring.rpc.channel import PeerCredentials, open_node_channel
from agentring.v1 import node_pb2, node_pb2_grpc

_MOST_ASKED = 5
_GET_NODE_STATUS = "/agentring.v1.NodeService/GetNodeStatus"
_EVERY_S = 30.0
_ANSWERS_WITHIN_S = 0.5

_log = structlog.get_logger()


class ClockTooFarOff(Exception):
    """The node's wall clock is not what the others' are."""

    def __init__(self, skew_s: float, most_s: float) -> None:
        """skew_s: ahead of the others; negative: behind."""
        super().__init__(
            f"this node's wall clock is {abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} the other nodes', "
            f"and may be {most_s:g} s: set it, or theirs, or give --max-clock-skew-s"
        )


class ClockSkew:
    """Of one node. Resource handling: one task must run `run()`."""

    def __init__(
        self,
        etcd: EtcdClient,
        keys: Keys,
        clock: Clock,
        node_id: NodeId,
        credentials: Callable[[], PeerCredentials | None],
        most_s: float,
        *,
        wall_s: Callable[[], float] = time.time,
        signer: Signer | None = None,
    ) -> None:
        """credentials: for calls of nodes, read for each; None: they serve plaintext. most_s: how far off it may be;
        signer: None: nodes ask nobody who he is."""
        self._signer = signer
        self._etcd = etcd
        self._keys = keys
        self._clock = clock
        self._node_id = node_id
        self._credentials = credentials
        self._most_s = most_s
        self._wall_s = wall_s
        self.skew_s: float | None = None
        """Ahead of the others, as measured last; None: nobody was there to say. Read from the metrics' thread too."""
        self._was_off = False

    async def check(self) -> None:
        """Before a join. Raises ClockTooFarOff, EtcdError."""
        await self.measure()
        if self.skew_s is not None and abs(self.skew_s) > self._most_s:
            raise ClockTooFarOff(self.skew_s, self._most_s)

    async def run(self) -> None:
        """Measures periodically, until cancelled."""
        while True:
            await self._clock.sleep(_EVERY_S)
            try:
                await self.measure()
            except Exception as error:  # it is for people alone: no reason to end a node
                _log.info("clock_skew_unknown", error=type(error).__name__)

    async def measure(self) -> None:
        """Asks a few of the others, those that follow this one's name. Raises EtcdError."""
        nodes = [node for kv in (await self._etcd.range(self._keys.nodes)).kvs if (node := _node(kv)) is not None]
        others = [node for node in nodes if node.node_id != self._node_id]
        others.sort(key=lambda node: (node.node_id < self._node_id, node.node_id))
        asked = await asyncio.gather(*(self._ahead_of(node) for node in others[:_MOST_ASKED]))
        known = [skew_s for skew_s in asked if skew_s is not None]
        self.skew_s = median(known) if known else None
        is_off = self.skew_s is not None and abs(self.skew_s) > self._most_s
        if is_off != self._was_off:
            self._was_off = is_off
            skew_s = round(self.skew_s, 3) if self.skew_s is not None else None
            if is_off:
                _log.error("clock_skewed", skew_s=skew_s, most_s=self._most_s, asked=len(known))
            else:
                _log.info("clock_skew_over", skew_s=skew_s)

    async def _ahead_of(self, node: Node) -> float | None:
        """None: it does not answer, or is of an earlier release."""
        try:
            said = peer_metadata(self._signer, _GET_NODE_STATUS, node.address, node.incarnation)
            async with open_node_channel(node, self._credentials()) as channel:
                before_s, began_s = self._wall_s(), self._clock.now_s()
                answer = await node_pb2_grpc.NodeServiceStub(channel).GetNodeStatus(
                    node_pb2.GetNodeStatusRequest(), timeout=_ANSWERS_WITHIN_S, metadata=said
                )
        except (aio.AioRpcError, OSError, ValueError):
            return None
        if not answer.HasField("wall_time"):
            return None
        took_s = self._clock.now_s() - began_s
        return before_s + took_s / 2 - answer.wall_time.ToNanoseconds() / 1e9


def _node(kv: KeyValue) -> Node | None:
    try:
        return Node.from_key_value(kv)
    except UnreadableRecord:
        return None
