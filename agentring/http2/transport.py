"""Sockets: an asyncio Protocol around a Connection, and one write per connection and turn of the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import structlog

from agentring.http2.connection import Connection
from agentring.http2.limits import TooMany
from agentring.http2.peer import Peer, peer_of
from agentring.http2.traffic import Traffic

_log = structlog.get_logger()

_MAX_UNWRITTEN_BYTES = 256 << 10
"""Streams wait beyond this."""
_PROBE_S = 0.1
"""When a peer that has closed has long said so, being written to; then only another write tells us."""
_MAX_UNREAD_BYTES = 4 << 20


EXPIRY_NOTICE_S = 30.0
"""Before its certificate ends, a peer is asked to come again by another connection."""


class Flusher:
    """Writes what the connections have put out, once a turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called by connections of this loop only."""
        self._loop = loop
        self._woken: list[ConnectionProtocol] = []

    def wake(self, protocol: ConnectionProtocol) -> None:
        """A connection has something to write."""
        if not self._woken:
            self._loop.call_soon(self._flush)
        self._woken.append(protocol)

    def _flush(self) -> None:
        woken, self._woken = self._woken, []
        for protocol in woken:
            try:
                protocol.flush()
            except Exception:  # a fault with one connection must not keep the others' bytes
                _log.exception("connection_failed", role=protocol.connection.role)
                protocol.abort()


class ConnectionProtocol(asyncio.Protocol):
    """Feeds a connection and writes for it."""

    def __init__(
        self,
        flusher: Flusher,
        traffic: Traffic,
        make: Callable[[Callable[[], None]], Connection],
        closed: Callable[[ConnectionProtocol], None],
    ) -> None:
        """make: the connection, given its `wake`; closed: told when the socket is gone."""
        self._flusher = flusher
        self._traffic = traffic
        self._make = make
        self._closed = closed
        self._now = asyncio.get_running_loop().time
        self._transport: asyncio.Transport | None = None
        self._ended_s: float | None = None
        self._read_paused = self._eof = self._peer_noticed = False
        self.connection: Connection
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_MAX_UNWRITTEN_BYTES)
        self.connection = self._make(self._wake)
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            self.connection.peer = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
        self.connection.peer_certificate = peer_of(transport.get_extra_info("ssl_object"))

    def data_received(self, data: bytes) -> None:
        """As asyncio.Protocol."""
        connection = self.connection
        self._traffic.received_bytes[connection.role] += len(data)
        if connection.ended is not None:
            return
        connection.receive(data, self._now())
        if connection.behind and self._transport is not None and not self._read_paused:
            # So many calls may stand in one read that all others would wait for them: a part for each turn of the loop.
            self._read_paused = True
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        transport, connection = self._transport, self.connection
        if transport is None or transport.is_closing():
            return
        if connection.ended is None and connection.behind:
            connection.receive(b"", self._now())
        if connection.ended is None and connection.behind:
            asyncio.get_running_loop().call_soon(self._read_on)
        elif not transport.is_closing() and not self._eof:
            self._read_paused = False
            transport.resume_reading()

    def pause_writing(self) -> None:
        """As asyncio.Protocol."""
        self.connection.pause()

    def resume_writing(self) -> None:
        """As asyncio.Protocol."""
        self.connection.resume()

    def eof_received(self) -> bool:
        """As asyncio.Protocol: the peer sends nothing more. True: what it has asked for is still answered."""
        self._eof = True
        if self._transport is None:
            return False
        connection = self.connection
        while connection.ended is None and connection.behind:
            connection.receive(b"", self._now())
        is_tls = self._transport.get_extra_info("sslcontext") is not None  # which has no such half
        if is_tls or not connection.peer_ended():
            self.flush()  # what it has asked for may have been answered in this turn
            return False
        asyncio.get_running_loop().call_later(_PROBE_S, connection.probe)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio.Protocol."""
        self._transport = None
        self.connection.socket_lost()
        if not self.lost.done():
            self.lost.set_result(None)
        self._closed(self)

    def flush(self) -> None:
        """Writes what is there; closes what has ended."""
        connection = self.connection
        if self._transport is None:
            connection.out.clear()
            return
        if out := connection.out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self._traffic.sent_bytes[connection.role] += len(data)
            self._transport.write(data)
            if not connection.paused:
                connection.sent()
            elif self._transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
                # Streams wait while the socket is full, so all this is answers that the peer has caused and not read.
                connection.fail(TooMany("unread answers"))
                self._transport.abort()
                return
        if connection.rest_s:
            asyncio.get_running_loop().call_later(connection.rest_s, connection.crowd_read)
            connection.rest_s = 0.0
        if connection.ended is not None and self._ended_s is None:
            self._end(self._transport)

    def tick(self, now_s: float) -> None:
        """Lets go of what has ended and lingered."""
        if self._transport is None:
            return
        self.connection.tick(now_s)
        if self.connection.peer_certificate is not None and self.connection.ended is None:
            self._tick_peer(self.connection.peer_certificate)
        if self.connection.ended is not None:
            if self._ended_s is None:
                self.flush()
            elif now_s - self._ended_s > self.connection.limits.linger_s:
                self._transport.abort()

    def _tick_peer(self, peer: Peer) -> None:
        """A certificate says for how long its holder is to be believed, so no connection outlives it."""
        left_s = peer.not_after_s - time.time()
        if left_s <= 0:
            self.connection.stop()
        elif left_s <= EXPIRY_NOTICE_S and not self._peer_noticed:
            self._peer_noticed = True
            self.connection.drain("the certificate ends")

    def abort(self) -> None:
        """Closes the socket at once."""
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        self._flusher.wake(self)

    def _end(self, transport: asyncio.Transport) -> None:
        """Closes our side, and the rest once the peer has closed its own or has had its time: a socket that is closed
        with bytes unread takes the GOAWAY with it."""
        self._ended_s = self._now()
        if transport.can_write_eof() and not transport.is_closing() and not self._eof:
            try:
                transport.write_eof()
            except OSError:  # the peer has left, and nobody has told us yet
                transport.abort()
        else:
            transport.close()
