"""A gRPC server with what every process of ours serves: its services, health, reflection, and UNIMPLEMENTED with an
ErrorInfo for everything else. Called by the router's and the node's app."""

from collections.abc import Mapping, Sequence

from google.protobuf.descriptor import ServiceDescriptor
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from agentring.rpc.limits import SERVER_OPTIONS
from agentring.rpc.service import ServiceHandler, Unimplemented

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name


class CannotListen(Exception):
    """The address is taken or not ours."""

    def __init__(self, address: str) -> None:
        """address: `host:port`."""
        super().__init__(f"cannot listen on {address}")


class Server:
    """A bound server. Resource handling: `start`, then `stop`."""

    def __init__(
        self,
        address: str,
        services: Mapping[ServiceDescriptor, object],
        *,
        reflected: Sequence[str] = (),
    ) -> None:
        """address: `host:port` or `unix:path`; services: objects by what they implement; reflected: further services'
        full names that reflection lists. Raises CannotListen."""
        self._server = aio.server(options=SERVER_OPTIONS)
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = {HEALTH, REFLECTION, *reflected, *(service.full_name for service in services)}
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
            reflection.aio.ReflectionServicer(sorted(names)), self._server
        )
        handlers = [ServiceHandler(service, servicer) for service, servicer in services.items()]
        self._server.add_generic_rpc_handlers((*handlers, Unimplemented()))
        self._names = ["", *sorted(service.full_name for service in services)]
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise CannotListen(address) from None
        host, colon, _ = address.rpartition(":")
        self.address = address if address.startswith("unix:") else f"{host}{colon}{port}"

    async def start(self) -> None:
        """Serves, with every service NOT_SERVING until told otherwise."""
        await self.set_serving(False)
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """What health checks are told."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls and cancels those that are still there after grace_s."""
        await self._server.stop(grace_s)
