"""Waits until a router sees the nodes it should route to.

A router is ready once it knows the membership as it was; nodes that start beside it join a moment later, and a call in
between would meet NO_NODES. Called by `local_cluster`.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress

from grpc import aio

from agentring.cli.calls import CALL_DEADLINE_S
from agentring.cli.cluster_file import NodeEntry
from agentring.rpc.channel import open_channel
from agentring.v1.cluster_pb2 import ListNodesRequest
from agentring.v1.cluster_pb2_grpc import ClusterServiceStub

_POLL_S = 0.02


async def until_seen(router: str, nodes: Collection[NodeEntry], deadline_s: float) -> None:
    """Returns once the router lists every one of the nodes. Raises TimeoutError."""
    wanted = {(node.id, node.address) for node in nodes}
    async with asyncio.timeout(deadline_s), open_channel(router) as channel:
        stub = ClusterServiceStub(channel)
        while True:
            with suppress(aio.AioRpcError):
                seen = await stub.ListNodes(ListNodesRequest(), timeout=CALL_DEADLINE_S)
                if wanted <= {(node.node_id, node.address) for node in seen.nodes}:
                    return
            await asyncio.sleep(_POLL_S)
