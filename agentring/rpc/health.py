"""grpc.health.v1.Health, for load balancers and supervisors.

Not the servicer of grpcio-health-checking: there a watcher that does not read holds up whoever sets the status, which
here is a process that wants to stop. Called by the server.
"""

import asyncio
from collections.abc import Iterable

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from agentring.errors import ServiceNotFound
from agentring.rpc.service import Call


class Health:
    """One status for the process and all its services."""

    def __init__(self, services: Iterable[str]) -> None:
        """services: full names that may be asked for beside the empty one. Begins with NOT_SERVING."""
        self._names = frozenset(("", *services))
        self._status: int = HealthCheckResponse.NOT_SERVING
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Sets the status and tells the watchers."""
        self._status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: HealthCheckRequest, _call: Call) -> HealthCheckResponse:
        """The status. Raises ServiceNotFound."""
        if request.service not in self._names:
            raise ServiceNotFound
        return HealthCheckResponse(status=self._status)

    async def Watch(self, request: HealthCheckRequest, call: Call) -> None:
        """The status, then each change; SERVICE_UNKNOWN where there is no such service."""
        sent = None
        while True:
            changed = self._changed
            known = request.service in self._names
            status = self._status if known else HealthCheckResponse.SERVICE_UNKNOWN
            if status != sent:
                await call.send(HealthCheckResponse(status=status))
                sent = status
            await changed.wait()
