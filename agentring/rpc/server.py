"""A gRPC server with what every process of ours serves: its services, health, reflection, and UNIMPLEMENTED with an
ErrorInfo for everything else. Called by the router's and the node's app.

It stands on agentring/http2, not on grpc.aio's server. Guarantees: no input ends it; whatever a peer sends costs that
peer's call or connection at most. A call is accepted in the turn of the event loop in which its headers arrive. Every
call is a task that the server owns and that has ended when `stop` returns, unless it defies its cancellation. `ended`
tells whoever supervises the process that nothing is served any more.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2

from agentring.certificates.context_files import ContextFiles
from agentring.errors import AgentringError, NodeDraining
from agentring.http2.budget import Budget
from agentring.http2.limits import Limits, Rate
from agentring.http2.listener import Listener, bind
from agentring.http2.transport import Flusher
from agentring.rpc import reflection
from agentring.rpc.call_recorder import CallRecorder
from agentring.rpc.call_tasks import CallAccess, CallTasks
from agentring.rpc.health import Health
from agentring.rpc.reflection import Reflection, Symbols
from agentring.rpc.service import methods
from agentring.rpc.service_connection import ServerContext, ServiceConnection

_log = structlog.get_logger()

HEALTH: ServiceDescriptor = health_pb2.DESCRIPTOR.services_by_name["Health"]  # type: ignore[assignment]

LIMITS = Limits(
    max_streams=200_000,
    resets=Rate(10_000, 1_000),
    idle_frames=Rate(100_000, 20_000),
    idle_timeout_s=math.inf,
)
"""Of one peer's connection. A router's carries the calls of all its clients."""
_MAX_CONNECTIONS = 10_000
_MAX_BUFFERED_BYTES = 256 << 20
_TICK_S = 1.0
_LAST_TASKS_S = 5.0
"""How long calls' tasks may take to end once they were cancelled."""


class Server:
    """A bound server. Resource handling: `start`, then `stop`."""

    def __init__(
        self,
        address: str,
        services: Mapping[ServiceDescriptor, object],
        *,
        first_frame_timeout_s: float,
        reflected: Sequence[str] = (),
        tls: ContextFiles | None = None,
        name: str = "node",
        stopping: AgentringError | None = None,
        recorder: CallRecorder | None = None,
        access: CallAccess | None = None,
    ) -> None:
        """address: `host:port` or `unix:path`; services: objects by what they implement; reflected: further services'
        full names that reflection lists; tls: None: plaintext; name: what the process is, for its peers; stopping: what
        calls end with that outlast the server; default: NodeDraining; recorder: who writes down what calls there are;
        None: nobody; access: who may have which call; None: everybody has every one. Raises CannotListen."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._stopping = stopping or NodeDraining()
        self._health = Health(service.full_name for service in services)
        listed = (HEALTH, *reflection.SERVICES, *services)
        symbols = Symbols([*reflected, *(service.full_name for service in listed)])
        own = ((HEALTH, self._health), *((version, Reflection(version, symbols)) for version in reflection.SERVICES))
        served = {
            path: method
            for service, servicer in (*services.items(), *own)
            for path, method in methods(service, servicer).items()
        }
        self._access = access
        self._calls = CallTasks(
            served, loop, first_frame_timeout_s=first_frame_timeout_s, recorder=recorder, access=access
        )
        limits = replace(LIMITS, first_frame_timeout_s=first_frame_timeout_s)
        context = ServerContext(name, limits, Budget(_MAX_BUFFERED_BYTES), loop, self._calls.begin)
        self._listener = Listener(
            lambda wake: ServiceConnection(context, loop.time(), wake),
            Flusher(loop),
            context.traffic,
            max_connections=_MAX_CONNECTIONS,
            tls=tls,
        )
        self._bound, self.address = bind(address, shared=False)
        self._ticking: asyncio.Task[None] | None = None
        self.ended: asyncio.Future[None] = loop.create_future()
        """Resolved when nothing is served any more, whether it was stopped or has failed."""

    @property
    def calls_in_flight(self) -> int:
        """Calls that have not ended."""
        return len(self._calls)

    async def start(self) -> None:
        """Serves, with every service NOT_SERVING until told otherwise. Raises OSError."""
        await self._listener.open(self._bound)
        self._ticking = self._loop.create_task(self._tick())
        self._ticking.add_done_callback(self._tell_end)

    def set_condition(self, serving: bool, coordinated: bool, *, sessions: bool) -> None:
        """What health checks are told. coordinated: the coordinator answers; sessions: some can be served."""
        self._health.set_condition(serving, coordinated, sessions)

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls and ends those that are still there after grace_s."""
        self._listener.stop_taking()
        await self._calls.wait(grace_s)
        self._calls.end_all(self._stopping)
        await self._listener.close(LIMITS.linger_s)
        await self._calls.wait(_LAST_TASKS_S)
        if self._calls:
            _log.error("calls_left", count=len(self._calls))
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        self._bound.close()

    async def _tick(self) -> None:
        while self._listener.is_open:
            await asyncio.sleep(_TICK_S)
            self._listener.tick(self._loop.time())
            if self._access is not None:
                self._access.tick()

    def _tell_end(self, ticking: asyncio.Task[None]) -> None:
        if not ticking.cancelled() and (error := ticking.exception()) is not None:
            _log.error("server_failed", exc_info=error)
        if not self.ended.done():
            self.ended.set_result(None)
