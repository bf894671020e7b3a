"""Asks a node to drain, and tells how far it is, for ClusterService.DrainNode.

Guarantees: a node that is gone in the middle of its drain, which is how a drained process ends, has left: that is what
is told. Called by services/cluster.py.
"""

import asyncio
from collections.abc import AsyncGenerator

import grpc
from grpc import aio

from agentring.cluster.snapshot import Node
from agentring.errors import NodeUnreachable
from agentring.v1 import node_pb2, node_pb2_grpc

_SILENCE_S = 10.0
"""A draining node says something every second."""


async def drain_node(
    node: Node, credentials: grpc.ChannelCredentials | None
) -> AsyncGenerator[node_pb2.DrainResponse, None]:
    """The node's progress, to its end. credentials: None: nodes serve plaintext. Raises NodeUnreachable."""
    channel = aio.secure_channel(node.address, credentials) if credentials else aio.insecure_channel(node.address)
    async with channel:
        call = node_pb2_grpc.NodeServiceStub(channel).Drain(node_pb2.DrainRequest())
        told = False
        try:
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    progress = await call.read()
                if not isinstance(progress, node_pb2.DrainResponse):
                    break
                told = True
                yield progress
                if progress.done:
                    return
        except (aio.AioRpcError, TimeoutError) as error:
            if not told:
                raise NodeUnreachable from error
        yield node_pb2.DrainResponse(done=True)
