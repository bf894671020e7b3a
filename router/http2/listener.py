"""The clients' port: takes connections, no more than the limit, and lets them go when the router stops."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

from agentring.http2 import frames
from agentring.http2.frames import Code
from agentring.http2.transport import ConnectionProtocol, Flusher
from agentring.rpc.server import CannotListen
from router.http2.carrier import Carrier
from router.http2.client_connection import ClientConnection

_BACKLOG = 4_096


class Listener:
    """Listens. Resource handling: `open`, `stop_taking`, then `close`."""

    def __init__(
        self,
        carrier: Carrier,
        flusher: Flusher,
        *,
        max_connections: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        """tls: None: plaintext, HTTP/2 by prior knowledge."""
        self._carrier = carrier
        self._flusher = flusher
        self._max_connections = max_connections
        self._tls = tls
        self._server: asyncio.Server | None = None
        self.protocols: set[ConnectionProtocol] = set()

    async def open(self, bound: socket.socket) -> None:
        """Takes connections from now on. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, sock=bound, ssl=self._tls, backlog=_BACKLOG)

    def stop_taking(self) -> None:
        """Takes no more connections, and asks clients to open no more streams on those they have."""
        if self._server is not None:
            self._server.close()
        for protocol in self.protocols:
            connection = protocol.connection
            assert isinstance(connection, ClientConnection)
            connection.drain()

    async def close(self, linger_s: float) -> None:
        """Ends every connection with GOAWAY; those that linger are closed."""
        for protocol in list(self.protocols):
            connection = protocol.connection
            connection.write(frames.goaway(connection.last_peer_stream_id(), Code.NO_ERROR, "the router has stopped"))
            connection.end(Code.NO_ERROR)
            protocol.flush()
        await self.wait_closed(linger_s)
        protocols = list(self.protocols)
        for protocol in protocols:
            protocol.abort()
        await asyncio.gather(*(protocol.lost for protocol in protocols))

    async def wait_closed(self, timeout_s: float) -> None:
        """Waits until no connection is left, or for timeout_s."""
        if self.protocols:
            await asyncio.wait([protocol.lost for protocol in self.protocols], timeout=timeout_s)

    def tick(self, now_s: float) -> None:
        """Once a second."""
        for protocol in list(self.protocols):
            protocol.tick(now_s)

    def _protocol(self) -> asyncio.Protocol:
        stats = self._carrier.stats
        if len(self.protocols) >= self._max_connections:
            stats.client_connections_refused += 1
            return _Refusal()

        def make(wake: Callable[[], None]) -> ClientConnection:
            self.protocols.add(protocol)
            stats.client_connections_opened += 1
            return ClientConnection(self._carrier, self._carrier.now_s(), wake)

        protocol = ConnectionProtocol(self._flusher, stats, make, self._closed)
        return protocol

    def _closed(self, protocol: ConnectionProtocol) -> None:
        self.protocols.discard(protocol)
        if protocol.connection.broken_for:
            self._carrier.stats.broken[protocol.connection.role, protocol.connection.broken_for] += 1


def bind(address: str, *, shared: bool) -> tuple[socket.socket, str]:
    """A socket that may listen later, and its address with the port that it got. shared: other processes listen on the
    same port (SO_REUSEPORT). Raises CannotListen."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, proto, _, place = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, proto)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(place)
    except OSError:
        raise CannotListen(address) from None
    return bound, f"{host}:{bound.getsockname()[1]}"


class _Refusal(asyncio.Protocol):
    """One connection too many: told so and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        refused = cast(asyncio.WriteTransport, transport)  # uvloop's is one, but does not say so
        refused.write(frames.settings({}) + frames.goaway(0, Code.ENHANCE_YOUR_CALM, "too many connections"))
        refused.close()
