"""What a router sees of the nodes: waits until it sees those that it should route to, and reports when it sees none.

A router is ready once it knows the membership as it was; nodes that start beside it join a moment later, and a call in
between would meet NO_NODES. Called by `local_cluster`.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from agentring.cli.calls import CALL_DEADLINE_S
from agentring.cli.local.cluster_file import NodeEntry
from agentring.rpc.channel import open_channel
from agentring.rpc.health import SESSIONS
from agentring.v1.cluster_pb2 import ListNodesRequest
from agentring.v1.cluster_pb2_grpc import ClusterServiceStub

_POLL_S = 0.02
_AGAIN_S = 1.0
NOBODY_SERVES = "NO_NODES: no node is ACTIVE, so no session can be served"


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


async def report_no_nodes(router: str, report: Callable[[str], None]) -> None:
    """Reports when no session can be served any more, and when some can again, until cancelled."""
    served = True
    async with open_channel(router) as channel:
        while True:
            with suppress(aio.AioRpcError):
                # (its type stubs leave the method out)
                stub = HealthStub(channel)
                async for answer in stub.Watch(HealthCheckRequest(service=SESSIONS)):  # type: ignore[attr-defined]
                    serves = answer.status == HealthCheckResponse.SERVING
                    if serves is served:
                        continue
                    router_itself = await stub.Check(HealthCheckRequest())  # type: ignore[attr-defined]
                    if router_itself.status == HealthCheckResponse.SERVING:  # else it is the router that stops
                        served = serves
                        report("nodes are ACTIVE again" if serves else NOBODY_SERVES)
            await asyncio.sleep(_AGAIN_S)
