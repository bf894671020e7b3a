"""Connections to nodes: opened by the first call that needs one, shared by all, replaced when they fail or are full.

Guarantees: at most one connection of a target is being made at a time, with a deadline, and all calls that ask
meanwhile wait for that one; a node that has left the membership keeps its streams to their end; a connection that the
node retires by GOAWAY likewise, beside the one that takes its place. Beyond MAX_CONNECTIONS of a node (its
MAX_CONCURRENT_STREAMS may be small) calls are told NODE_OVERLOADED.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, cast

import structlog

from agentring.cluster.snapshot import MembershipSnapshot
from agentring.http2.budget import Budget
from agentring.http2.limits import Limits
from agentring.http2.transport import ConnectionProtocol, Flusher
from router.relay.node_connection import NodeConnection
from router.relay.pings import PingManners
from router.routing.owner import Target
from router.stats import Stats

if TYPE_CHECKING:
    from router.relay.call import Call

_log = structlog.get_logger()

MAX_CONNECTIONS = 64
_PROBES = 3
"""Of TCP, before a connection is given up."""


class NodePool:
    """The connections, by target. Resource handling: `close`."""

    def __init__(
        self,
        limits: Limits,
        budget: Budget,
        stats: Stats,
        flusher: Flusher,
        *,
        connect_timeout_s: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        """connect_timeout_s: until the node has answered our SETTINGS; tls: None: plaintext."""
        self._limits = limits
        self._budget = budget
        self._stats = stats
        self._flusher = flusher
        self._connect_timeout_s = connect_timeout_s
        self._tls = tls
        self._links: dict[Target, _Link] = {}
        self._dialling: set[asyncio.Task[None]] = set()
        self._protocols: set[ConnectionProtocol] = set()

    def connect(self, target: Target, call: Call) -> NodeConnection | None:
        """As Connector."""
        link = self._links.get(target)
        if link is None:
            link = self._links[target] = _Link(target)
        for connection in link.connections:
            if connection.has_room:
                return connection
        link.waiting.append(call)
        self._dial(link)
        return None

    async def retain(self, snapshot: MembershipSnapshot) -> None:
        """Lets go of nodes that have left: what can go on elsewhere does."""
        present = {Target(node.node_id, node.address) for node in snapshot.nodes.values()}
        for target, link in list(self._links.items()):
            if target in present or target.address.startswith("unix:") or link.dialling:
                continue
            del self._links[target]
            for connection in link.connections:
                connection.leave()

    def tick(self, now_s: float) -> None:
        """Once a second."""
        for protocol in list(self._protocols):
            protocol.tick(now_s)

    @property
    def count(self) -> int:
        """How many connections there are."""
        return len(self._protocols)

    async def close(self) -> None:
        """Closes every connection."""
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        protocols = list(self._protocols)
        for protocol in protocols:
            protocol.abort()
        await asyncio.gather(*(protocol.lost for protocol in protocols))

    def _dial(self, link: _Link) -> None:
        if link.dialling:
            return
        if len(link.connections) >= MAX_CONNECTIONS:
            self._tell_overloaded(link)
            return
        link.dialling = True
        task = asyncio.get_running_loop().create_task(self._make(link))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _make(self, link: _Link) -> None:
        ready = asyncio.Event()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                protocol = await self._open_socket(link, ready)
                connection = cast(NodeConnection, protocol.connection)
                lost = protocol.lost
                waiter = asyncio.ensure_future(ready.wait())
                try:
                    await asyncio.wait([waiter, lost], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiter.cancel()
                    if not connection.ready:
                        protocol.abort()
        except (OSError, TimeoutError, ValueError, ssl.SSLError) as error:  # ValueError: no address with a port
            if not link.failing:  # every call would say it again
                _log.info("node_unreachable", node=link.target.node_id, why=type(error).__name__)
            link.failing = True
            connection = None
        link.dialling = False
        waiting, link.waiting = link.waiting, []
        if connection is None or not connection.ready:
            for call in waiting:
                call.not_connected(was_reached=link.was_reached)
            return
        link.failing, link.was_reached = False, True
        link.connections.append(connection)
        if self._links.get(link.target) is not link:
            connection.retire()
        for index, call in enumerate(waiting):
            if not connection.has_room:
                link.waiting = waiting[index:] + link.waiting
                self._dial(link)
                break
            call.connected(connection)

    async def _open_socket(self, link: _Link, ready: asyncio.Event) -> ConnectionProtocol:
        loop = asyncio.get_running_loop()
        target, limits, budget = link.target, self._limits, self._budget

        def protocol() -> ConnectionProtocol:
            return ConnectionProtocol(
                self._flusher,
                self._stats,
                lambda wake: NodeConnection(target.address, limits, budget, loop.time(), wake, ready.set, link.manners),
                self._closed,
            )

        if target.address.startswith("unix:"):
            _, made = await loop.create_unix_connection(protocol, target.address.removeprefix("unix:"))
        else:
            host, _, port = target.address.rpartition(":")
            transport, made = await loop.create_connection(
                protocol,
                host.strip("[]"),
                int(port),
                ssl=self._tls,
                server_hostname=host.strip("[]") if self._tls else None,
            )
            self._keep_alive(transport)
        self._protocols.add(made)
        return made

    def _keep_alive(self, transport: asyncio.BaseTransport) -> None:
        """Has TCP find out that the node's machine is gone, where the node is not to be asked so often."""
        idle_s, timeout_s = self._limits.keepalive_s, self._limits.keepalive_timeout_s
        bound = transport.get_extra_info("socket")
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(idle_s)))
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(timeout_s / _PROBES)))
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1_000, round((idle_s + timeout_s) * 1e3)))

    def _closed(self, protocol: ConnectionProtocol) -> None:
        self._protocols.discard(protocol)
        connection = protocol.connection
        if connection.broken_for:
            self._stats.broken[connection.role, connection.broken_for] += 1
        for link in self._links.values():
            if connection in link.connections:
                link.connections.remove(connection)

    def _tell_overloaded(self, link: _Link) -> None:
        waiting, link.waiting = link.waiting, []
        for call in waiting:
            call.node_full()


class _Link:
    """What there is of one target."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.manners = PingManners()
        self.connections: list[NodeConnection] = []
        self.waiting: list[Call] = []
        self.dialling = False
        self.failing = False
        """The last connection could not be made."""
        self.was_reached = False
        """One could, at some time."""
