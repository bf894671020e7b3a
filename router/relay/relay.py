"""The relay as a whole, which is all that the app knows of it: a listener, the calls, the connections to nodes."""

from __future__ import annotations

import asyncio
import socket

import structlog

from agentring.audit.calls import RelayedCalls
from agentring.certificates.context_files import ContextFiles
from agentring.errors import RouterStopping
from agentring.http2.budget import Budget
from agentring.http2.limits import Limits
from agentring.http2.listener import Listener, bind
from agentring.http2.transport import Flusher
from agentring.rpc.probe import ProbeFailed
from router.relay.access import RelayAccess
from router.relay.call_routing import CallRouting
from router.relay.client_connection import ClientConnection
from router.relay.context import RelayContext
from router.relay.node_pool import NodePool, NodeTls
from router.routing.epochs import Epochs
from router.routing.owner import OwnerLookup, Target
from router.routing.ring_view import RingView
from router.stats import Stats

_TICK_S = 1.0

_log = structlog.get_logger()


class Relay:
    """Serves the clients' port. Resource handling: `start`, then `stop`."""

    def __init__(
        self,
        listen: str,
        lookup: OwnerLookup,
        view: RingView,
        own_services: Target,
        epochs: Epochs,
        client_limits: Limits,
        node_limits: Limits,
        *,
        shared_port: bool,
        max_connections: int,
        max_buffered_bytes: int,
        connect_timeout_s: float,
        client_tls: ContextFiles | None,
        node_tls: NodeTls | None,
        recorder: RelayedCalls | None = None,
        access: RelayAccess | None = None,
    ) -> None:
        """own_services: the router's own services, on a unix socket; max_buffered_bytes: for all slow readers
        together; recorder: of calls; None: nobody writes them down; access: None: everybody may have every call. Raises
        CannotListen."""
        loop = asyncio.get_running_loop()
        self._flusher = Flusher(loop)
        self.budget = Budget(max_buffered_bytes)
        self._loop = loop
        self.stats = Stats()
        self._nodes = NodePool(
            node_limits,
            self.budget,
            self.stats,
            self._flusher,
            connect_timeout_s=connect_timeout_s,
            tls=node_tls,
        )
        routing = CallRouting(lookup, view, own_services, epochs, recorder, access)
        self._access = access
        context = RelayContext(routing, self._nodes, client_limits, self.budget, loop, self.stats)
        self._calls = context.registry
        self._linger_s = client_limits.linger_s
        self._listener = Listener(
            lambda wake: ClientConnection(context, loop.time(), wake),
            self._flusher,
            self.stats,
            max_connections=max_connections,
            tls=client_tls,
        )
        self._bound, self._address = bind(listen, shared=shared_port)
        self._ticking: asyncio.Task[None] | None = None
        self.ended: asyncio.Future[None] = loop.create_future()
        """Resolved when nothing is looked after any more, whether it was stopped or has failed."""
        view.on_change(self._nodes.membership_changed)
        view.on_change(self._calls.membership_changed)

    @property
    def address(self) -> str:
        """Where it listens, `host:port`."""
        return self._address

    @property
    def calls_in_flight(self) -> int:
        """Calls that have not ended."""
        return len(self._calls.calls)

    @property
    def client_connections(self) -> int:
        """Open now."""
        return len(self._listener.protocols)

    @property
    def node_connections(self) -> int:
        """Open now, the one to our own services among them."""
        return self._nodes.count

    def check_listening(self, _timeout_s: float) -> None:
        """Whether the port is still ours to listen on. Called by a thread. Raises ProbeFailed."""
        try:
            if self._bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return
        except OSError:
            pass  # it was closed, or its number belongs to something else
        raise ProbeFailed(f"nobody listens on {self._address} any more", refused=True)

    async def start(self) -> None:
        """Takes calls. Raises OSError."""
        self._ticking = self._loop.create_task(self._tick())
        self._ticking.add_done_callback(self._resolve_ended)
        await self._listener.open(self._bound)

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls; those under way may end within grace_s, the others end with ROUTER_STOPPING."""
        self._listener.stop_taking()
        self._calls.go_away()
        await self._listener.wait_closed(grace_s)
        self._calls.fail_all(RouterStopping())
        await self._listener.close(self._linger_s)
        await self._nodes.close()
        if self._ticking is not None:
            self._ticking.cancel()
        self._bound.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = self._loop.time()
            self._listener.tick(now_s)
            self._nodes.tick(now_s)
            if self._access is not None:
                self._access.tick()

    def _resolve_ended(self, ticking: asyncio.Task[None]) -> None:
        if not ticking.cancelled() and (error := ticking.exception()) is not None:
            _log.error("relay_failed", exc_info=error)
        if not self.ended.done():
            self.ended.set_result(None)
