"""Takes the connections of a TLS port: each counts from when it is taken, and its handshake has its time.

The event loop's own server would neither tell of a connection before its handshake nor of one that fails, so whoever
opens sockets and is silent could hold any number of them for a minute each. Called by Listener.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import structlog

from agentring.certificates.context_files import ContextFiles

_log = structlog.get_logger()

_AGAIN_S = 0.5
"""Where the process has no descriptor left, say."""


class TlsAcceptor:
    """Resource handling: `open`, then `close`."""

    def __init__(
        self,
        context: ContextFiles,
        timeout_s: float,
        *,
        has_room: Callable[[], bool],
        make: Callable[[], asyncio.Protocol],
    ) -> None:
        """timeout_s: for a handshake; has_room: whether another connection may be taken; make: the protocol of one
        whose handshake is over."""
        self._context = context
        self._timeout_s = timeout_s
        self._has_room = has_room
        self._make_protocol = make
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many handshakes are under way."""
        return len(self._handshakes)

    @property
    def is_open(self) -> bool:
        """Whether it takes connections."""
        return self._accepting is not None and not self._accepting.done()

    def open(self, bound: socket.socket, backlog: int) -> None:
        """Takes connections from now on. Raises OSError."""
        bound.setblocking(False)
        bound.listen(backlog)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(bound))

    def close(self) -> None:
        """Takes no more, and waits for no handshake."""
        for task in (self._accepting, *self._handshakes):
            if task is not None:
                task.cancel()

    async def wait_closed(self) -> None:
        """Until nothing is left of what `close` has ended."""
        tasks = [task for task in (self._accepting, *self._handshakes) if task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def _accept(self, bound: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(bound)
            except OSError as error:
                _log.warning("accept_failed", why=error.strerror)
                await asyncio.sleep(_AGAIN_S)
                continue
            if not self._has_room():
                accepted.close()  # to tell it why would take a handshake
                continue
            handshake = loop.create_task(self._shake(accepted))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _shake(self, accepted: socket.socket) -> None:
        with suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol, accepted, ssl=self._context.current, ssl_handshake_timeout=self._timeout_s
            )
        except (OSError, EOFError) as error:  # of TLS, of the connection, or that it took too long
            _log.debug("handshake_failed", why=type(error).__name__)
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()
            raise
