"""Connections to nodes: one channel per node and address, opened by its first call, closed when the node has left.

Called by the relay.
"""

import asyncio

from grpc import aio

from agentring.cluster.snapshot import MembershipSnapshot
from agentring.rpc.limits import CHANNEL_OPTIONS
from router.owner import Target


class Upstreams:
    """Channels by target. Resource handling: `close()`; one task must run `run()`, which closes retired channels."""

    def __init__(self) -> None:
        """Opens nothing yet."""
        self._channels: dict[Target, aio.Channel] = {}
        self._retired: asyncio.Queue[aio.Channel] = asyncio.Queue()

    def channel(self, target: Target) -> aio.Channel:
        """The target's channel."""
        channel = self._channels.get(target)
        if channel is None:
            channel = self._channels[target] = aio.insecure_channel(target.address, options=CHANNEL_OPTIONS)
        return channel

    def retain(self, snapshot: MembershipSnapshot) -> None:
        """Retires the channels of nodes that have left; their calls end as the node's death ends them."""
        present = {Target(node.node_id, node.address) for node in snapshot.nodes.values()}
        for target in self._channels.keys() - present:
            self._retired.put_nowait(self._channels.pop(target))

    async def run(self) -> None:
        """Closes what is retired, until cancelled."""
        while True:
            channel = await self._retired.get()
            await channel.close()

    async def close(self) -> None:
        """Closes every channel; calls under way fail."""
        while not self._retired.empty():
            await self._retired.get_nowait().close()
        for channel in self._channels.values():
            await channel.close()
