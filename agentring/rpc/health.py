"""grpc.health.v1.Health, for load balancers and supervisors.

Not the servicer of grpcio-health-checking: there a watcher that does not read holds up whoever sets the status, which
here is a process that wants to stop. Called by the server.
"""

import asyncio
from collections.abc import Iterable

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from agentring.errors import ServiceNotFound
from agentring.rpc.service import Call

COORDINATOR = "agentring.coordinator"
"""A name that may be asked for: NOT_SERVING while the process has no coordinator. What the process has goes on then
(it is degraded), so its own status stays SERVING."""

SESSIONS = "agentring.sessions"
"""Likewise: NOT_SERVING while no session can be served here: the node is not ACTIVE, or the router knows of no node
that is."""


class Health:
    """One status for the process and all its services, one for its coordinator and one for what it is there for."""

    def __init__(self, services: Iterable[str]) -> None:
        """services: full names that may be asked for beside the empty one. Begins with NOT_SERVING."""
        self._names = ("", *services)
        self._statuses: dict[str, int] = {}
        self._changed = asyncio.Event()
        self.set_condition(serving=False, coordinated=False, sessions=False)

    def set_condition(self, serving: bool, coordinated: bool, sessions: bool) -> None:
        """Sets the statuses and tells the watchers."""
        apart = {COORDINATOR: _status(coordinated), SESSIONS: _status(sessions)}
        self._statuses = dict.fromkeys(self._names, _status(serving)) | apart
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: HealthCheckRequest, _call: Call) -> HealthCheckResponse:
        """The status. Raises ServiceNotFound."""
        if (status := self._statuses.get(request.service)) is None:
            raise ServiceNotFound
        return HealthCheckResponse(status=status)

    async def Watch(self, request: HealthCheckRequest, call: Call) -> None:
        """The status, then each change; SERVICE_UNKNOWN where there is no such service."""
        sent = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, HealthCheckResponse.SERVICE_UNKNOWN)
            if status != sent:
                await call.send(HealthCheckResponse(status=status))
                sent = status
            await changed.wait()


def _status(well: bool) -> int:
    return HealthCheckResponse.SERVING if well else HealthCheckResponse.NOT_SERVING
