"""Asks a node to drain, and reports how far it is, for ClusterService.

Guarantees: `done` is reported only if the node has said so, or is not registered any more: one that is ended while it
drains says nothing of it. A node that falls silent and stays registered may have been cut off, and go on by
itself. Called by cluster.py.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from grpc import aio

from agentring.auth.caller_fields import Pairs
from agentring.auth.peer_calls import peer_metadata
from agentring.auth.signatures import Signer
from agentring.cluster.membership import Membership
from agentring.cluster.snapshot import Node
from agentring.errors import LastNodeOfAgent, NodeDraining, NodeUnreachable
from agentring.rpc.channel import PeerCredentials, open_node_channel
from agentring.rpc.status import read_error
from agentring.v1 import cluster_pb2, node_pb2, node_pb2_grpc

_SILENCE_S = 10.0
"""A draining node says something every second."""
_LEAVES_WITHIN_S = 1.0
"""How long a process that has ended well may take to be missed."""
_ANSWERS_WITHIN_S = 1.0
_BACK_WITHIN_S = 60.0
"""A drain that is under way ends first."""


async def drain_node(
    node: Node,
    membership: Membership,
    credentials: PeerCredentials | None,
    signer: Signer | None = None,
    *,
    force: bool = False,
) -> AsyncGenerator[node_pb2.DrainResponse, None]:
    """The node's progress, to its end. credentials: None: nodes serve plaintext; signer: None: they ask nobody
    who he is; force: also where it is the last one for an agent. Raises LastNodeOfAgent, NodeUnreachable."""
    if node.drained:
        yield node_pb2.DrainResponse(done=True)
        return
    async with open_node_channel(node, credentials) as channel:
        call = node_pb2_grpc.NodeServiceStub(channel).Drain(
            node_pb2.DrainRequest(force=force), metadata=_said(signer, "Drain", node)
        )
        try:
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    progress = await call.read()
                if not isinstance(progress, node_pb2.DrainResponse):
                    break
                yield progress
                if progress.done:
                    return
        except TimeoutError:
            pass
        except aio.AioRpcError as error:
            report = read_error(error)
            if report.reason == LastNodeOfAgent.reason:
                raise LastNodeOfAgent(report.variables.get("agent", "")) from None
            # Else it has ended, or cannot be reached.
    if not await _leaves(node, membership):
        raise NodeUnreachable
    yield node_pb2.DrainResponse(done=True)


async def undrain_node(node: Node, credentials: PeerCredentials | None, signer: Signer | None = None) -> int:
    """Has a node join again; its incarnation. Raises NodeUnreachable, NodeDraining."""
    async with open_node_channel(node, credentials) as channel:
        stub = node_pb2_grpc.NodeServiceStub(channel)
        try:
            request, said = node_pb2.UndrainRequest(), _said(signer, "Undrain", node)
            return (await stub.Undrain(request, timeout=_BACK_WITHIN_S, metadata=said)).incarnation
        except aio.AioRpcError as error:
            raise (NodeDraining if read_error(error).reason == NodeDraining.reason else NodeUnreachable) from None


async def _leaves(node: Node, membership: Membership) -> bool:
    snapshot = None
    try:
        async with asyncio.timeout(_LEAVES_WITHIN_S):
            while True:
                snapshot = await membership.next(snapshot)
                registered = snapshot.nodes.get(node.node_id)
                if registered is None or registered.incarnation != node.incarnation:
                    return True
    except TimeoutError:
        return False


async def progress_of(
    nodes: Iterable[Node], credentials: PeerCredentials | None, signer: Signer | None = None
) -> list[cluster_pb2.DrainProgress]:
    """How far the drains of these nodes are, without those that do not answer within a second."""
    found = await asyncio.gather(*(_progress(node, credentials, signer) for node in nodes))
    return [progress for progress in found if progress is not None]


def _said(signer: Signer | None, method: str, node: Node) -> Pairs:
    return peer_metadata(signer, f"/agentring.v1.NodeService/{method}", node.address, node.incarnation)


async def _progress(
    node: Node, credentials: PeerCredentials | None, signer: Signer | None
) -> cluster_pb2.DrainProgress | None:
    async with open_node_channel(node, credentials) as channel:
        stub = node_pb2_grpc.NodeServiceStub(channel)
        try:
            request, said = node_pb2.GetNodeStatusRequest(), _said(signer, "GetNodeStatus", node)
            status = await stub.GetNodeStatus(request, timeout=_ANSWERS_WITHIN_S, metadata=said)
        except aio.AioRpcError:
            return None
    return cluster_pb2.DrainProgress(
        node_id=node.node_id, sessions_left=status.sessions, turns_running=status.turns_running
    )
