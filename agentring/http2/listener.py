"""A port: takes connections, no more than the limit, and lets them go when the process stops.

The router's for its clients, and each process's for its own services.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import structlog

from agentring.certificates.context_files import ContextFiles
from agentring.http2 import frames
from agentring.http2.frames import Code
from agentring.http2.server_connection import ServerConnection
from agentring.http2.tls_acceptor import TlsAcceptor
from agentring.http2.traffic import Traffic
from agentring.http2.transport import ConnectionProtocol, Flusher

_log = structlog.get_logger()

_BACKLOG = 4_096
_UNIX = "unix:"


class CannotListen(Exception):
    """The address is taken or not ours."""

    def __init__(self, address: str) -> None:
        """address: `host:port` or `unix:path`."""
        super().__init__(f"cannot listen on {address}")


class Listener:
    """Listens. Resource handling: `open`, `stop_taking`, then `close`."""

    def __init__(
        self,
        make: Callable[[Callable[[], None]], ServerConnection],
        flusher: Flusher,
        traffic: Traffic,
        *,
        max_connections: int,
        tls: ContextFiles | None,
        handshake_timeout_s: float = 10.0,
    ) -> None:
        """make: a connection, given its `wake`; max_connections: those whose TLS handshake is not over included; tls:
        None: plaintext, HTTP/2 by prior knowledge."""
        self._make = make
        self._flusher = flusher
        self._traffic = traffic
        self._max_connections = max_connections
        self._tls = tls
        self._acceptor: TlsAcceptor | None = None
        if tls is not None:
            self._acceptor = TlsAcceptor(tls, handshake_timeout_s, has_room=self._has_room, make=self._protocol)
        self._server: asyncio.Server | None = None
        self.protocols: set[ConnectionProtocol] = set()

    async def open(self, bound: socket.socket) -> None:
        """Takes connections from now on. Raises OSError."""
        if self._acceptor is not None:
            self._acceptor.open(bound, _BACKLOG)
            return
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if bound.family == socket.AF_UNIX else loop.create_server
        self._server = await create(self._accepted, sock=bound, backlog=_BACKLOG)

    @property
    def is_open(self) -> bool:
        """Whether it takes connections."""
        if self._acceptor is not None:
            return self._acceptor.is_open
        return self._server is not None and self._server.is_serving()

    def stop_taking(self) -> None:
        """Takes no more connections, and asks clients to open no more streams on those they have."""
        if self._server is not None:
            self._server.close()
        if self._acceptor is not None:
            self._acceptor.close()
        for protocol in self.protocols:
            connection = protocol.connection
            assert isinstance(connection, ServerConnection)
            connection.drain()

    async def close(self, linger_s: float) -> None:
        """Ends every connection with GOAWAY; those that linger are closed."""
        if self._acceptor is not None:
            await self._acceptor.wait_closed()
        for protocol in list(self.protocols):
            connection = protocol.connection
            assert isinstance(connection, ServerConnection)
            connection.stop()
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
        if self._tls is not None:
            self._tls.poll()
        for protocol in list(self.protocols):
            try:
                protocol.tick(now_s)
            except Exception:  # of this connection alone
                _log.exception("connection_failed", role=protocol.connection.role)
                protocol.abort()

    def _accepted(self) -> asyncio.Protocol:
        """A connection was accepted: the protocol that serves it."""
        return self._protocol() if self._has_room() else _Refusal()

    def _has_room(self) -> bool:
        """For another connection; one that is turned away is counted."""
        if len(self.protocols) + len(self._acceptor or ()) < self._max_connections:
            return True
        self._traffic.client_connections_refused += 1
        return False

    def _protocol(self) -> asyncio.Protocol:
        traffic = self._traffic

        def make(wake: Callable[[], None]) -> ServerConnection:
            self.protocols.add(protocol)
            traffic.client_connections_opened += 1
            return self._make(wake)

        protocol = ConnectionProtocol(self._flusher, traffic, make, self._closed)
        return protocol

    def _closed(self, protocol: ConnectionProtocol) -> None:
        self.protocols.discard(protocol)
        if protocol.connection.broken_for:
            self._traffic.broken[protocol.connection.role, protocol.connection.broken_for] += 1


def bind(address: str, *, shared: bool) -> tuple[socket.socket, str]:
    """A socket that may listen later, and its address with the port that it got. shared: other processes listen on the
    same port (SO_REUSEPORT). Raises CannotListen."""
    if address.startswith(_UNIX):
        return _bind_unix(address), address
    host, _, port = address.rpartition(":")
    try:
        family, kind, proto, _, socket_address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise CannotListen(address) from None
    bound = socket.socket(family, kind, proto)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(socket_address)
    except OSError:
        bound.close()
        raise CannotListen(address) from None
    return bound, f"{host}:{bound.getsockname()[1]}"


def _bind_unix(address: str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(address.removeprefix(_UNIX))
    except OSError:
        bound.close()
        raise CannotListen(address) from None
    return bound


class _Refusal(asyncio.Protocol):
    """One connection too many: told so and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        refused = cast(asyncio.WriteTransport, transport)  # uvloop's is one, but does not say so
        refused.write(frames.settings({}) + frames.goaway(0, Code.ENHANCE_YOUR_CALM, "too many connections"))
        refused.close()
