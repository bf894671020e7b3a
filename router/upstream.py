"""Connections to nodes: one channel per node and address, opened by its first call, closed when the node has left and
its last call has ended.

The race it prevents: closing a channel under a call ends the call by a cancellation that looks like the client's own.
Called by the relay.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpc import aio

from agentring.cluster.snapshot import MembershipSnapshot
from agentring.rpc.limits import CHANNEL_OPTIONS
from router.owner import Target


class _Connection:
    """A channel and how many calls use it."""

    def __init__(self, address: str) -> None:
        self.channel = aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self.calls = 0


class Upstreams:
    """Channels by target. Resource handling: `close()`, after the last call."""

    def __init__(self) -> None:
        """Opens nothing yet."""
        self._connections: dict[Target, _Connection] = {}

    @asynccontextmanager
    async def use(self, target: Target) -> AsyncIterator[aio.Channel]:
        """The target's channel, for one call."""
        connection = self._connections.get(target)
        if connection is None:
            connection = self._connections[target] = _Connection(target.address)
        connection.calls += 1
        try:
            yield connection.channel
        finally:
            connection.calls -= 1
            if not connection.calls and self._connections.get(target) is not connection:
                await connection.channel.close()

    async def retain(self, snapshot: MembershipSnapshot) -> None:
        """Lets go of nodes that have left; calls to them go on until the node or the connection ends them."""
        present = {Target(node.node_id, node.address) for node in snapshot.nodes.values()}
        for target in self._connections.keys() - present:
            connection = self._connections.pop(target)
            if not connection.calls:
                await connection.channel.close()

    async def close(self) -> None:
        """Closes every channel."""
        for connection in self._connections.values():
            await connection.channel.close()
