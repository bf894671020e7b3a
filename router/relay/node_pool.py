"""Connections to nodes: opened by the first call that needs one, shared by all, replaced when they fail or are full.

Guarantees: at most one connection of a target is being made at a time, with a deadline, and all calls that ask
meanwhile wait for that one; a node that has left the membership keeps its streams to their end; a connection that the
node retires by GOAWAY likewise, beside the one that takes its place. Beyond MAX_CONNECTIONS of a node (its
MAX_CONCURRENT_STREAMS may be small) calls end with NODE_OVERLOADED.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import cast

import structlog

from agentring.certificates.context_files import ContextFiles
from agentring.certificates.names import Holder, uri_of
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.http2.budget import Budget
from agentring.http2.limits import Limits
from agentring.http2.peer import Peer
from agentring.http2.transport import ConnectionProtocol, Flusher
from router.relay.call_events import CallEvents
from router.relay.node_connection import NodeConnection
from router.relay.pings import PingPolicy
from router.routing.owner import Target
from router.stats import Stats

_log = structlog.get_logger()

MAX_CONNECTIONS = 64
_PROBES = 3
"""Of TCP, before a connection is given up."""


class _WrongPeer(OSError):
    """Another one than the node answers at its address."""


@dataclass(frozen=True, slots=True)
class NodeTls:
    """How the router and nodes know each other."""

    files: ContextFiles
    cluster: str

    def check(self, peer: Peer | None, target: Target) -> None:
        """Whether the certificate is the node's that the record or redirect names: nodes all have one of the same
        authority, and addresses change hands. Raises _WrongPeer."""
        wanted = uri_of(self.cluster, Holder.node, target.node_id)
        if peer is None or wanted not in peer.uris:
            raise _WrongPeer(f"no certificate of {wanted}")


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
        tls: NodeTls | None,
    ) -> None:
        """connect_timeout_s: until the node has answered our SETTINGS; tls: None: plaintext."""
        self._limits = limits
        self._budget = budget
        self._stats = stats
        self._flusher = flusher
        self._connect_timeout_s = connect_timeout_s
        self._tls = tls
        self._targets: dict[Target, _TargetConnections] = {}
        self._dialling: set[asyncio.Task[None]] = set()
        self._protocols: set[ConnectionProtocol] = set()

    def connect(self, target: Target, call: CallEvents) -> NodeConnection | None:
        """As Connector."""
        entry = self._targets.get(target)
        if entry is None:
            entry = self._targets[target] = _TargetConnections(target)
        for connection in entry.connections:
            if connection.has_room:
                return connection
        entry.waiting.append(call)
        self._dial(entry)
        return None

    async def membership_changed(self, snapshot: MembershipSnapshot) -> None:
        """Leaves nodes that have left: what can go on elsewhere does."""
        present = {Target(node.node_id, node.address) for node in snapshot.nodes.values()}
        for target, entry in list(self._targets.items()):
            if target in present or target.address.startswith("unix:") or entry.dialling:
                continue
            del self._targets[target]
            for connection in entry.connections:
                connection.node_left()

    def tick(self, now_s: float) -> None:
        """Once a second."""
        if self._tls is not None:
            self._tls.files.poll()
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

    def _dial(self, entry: _TargetConnections) -> None:
        if entry.dialling:
            return
        if len(entry.connections) >= MAX_CONNECTIONS:
            self._report_overloaded(entry)
            return
        entry.dialling = True
        task = asyncio.get_running_loop().create_task(self._make(entry))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _make(self, entry: _TargetConnections) -> None:
        ready = asyncio.Event()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                protocol = await self._open_socket(entry, ready)
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
            if not entry.failing:  # every call would say it again
                _log.info("node_unreachable", node=entry.target.node_id, why=type(error).__name__)
            entry.failing = True
            connection = None
        entry.dialling = False
        waiting, entry.waiting = entry.waiting, []
        if connection is None or not connection.ready:
            for call in waiting:
                call.not_connected(was_reached=entry.was_reached)
            return
        entry.failing, entry.was_reached = False, True
        entry.connections.append(connection)
        if self._targets.get(entry.target) is not entry:
            connection.retire()
        for index, call in enumerate(waiting):
            if not connection.has_room:
                entry.waiting = waiting[index:] + entry.waiting
                self._dial(entry)
                break
            call.connected()

    async def _open_socket(self, entry: _TargetConnections, ready: asyncio.Event) -> ConnectionProtocol:
        loop = asyncio.get_running_loop()
        target, limits, budget = entry.target, self._limits, self._budget

        def protocol() -> ConnectionProtocol:
            return ConnectionProtocol(
                self._flusher,
                self._stats,
                lambda wake: NodeConnection(
                    target.address, limits, budget, loop.time(), wake, ready.set, entry.ping_policy
                ),
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
                ssl=self._tls.files.current if self._tls is not None else None,
            )
            if self._tls is not None:
                try:
                    self._tls.check(made.connection.peer_certificate, target)
                except _WrongPeer:
                    transport.abort()
                    raise
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
        for entry in self._targets.values():
            if connection in entry.connections:
                entry.connections.remove(connection)

    def _report_overloaded(self, entry: _TargetConnections) -> None:
        waiting, entry.waiting = entry.waiting, []
        for call in waiting:
            call.node_full()


class _TargetConnections:
    """The connections to one target, and the calls that wait for one."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.ping_policy = PingPolicy()
        self.connections: list[NodeConnection] = []
        self.waiting: list[CallEvents] = []
        self.dialling = False
        self.failing = False
        """The last connection could not be made."""
        self.was_reached = False
        """One could, at some time."""
