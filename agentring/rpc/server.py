"""A gRPC server with what every process of ours serves: its services, health, reflection, and UNIMPLEMENTED with an
ErrorInfo for everything else. Called by the router's and the node's app."""

from collections.abc import Mapping, Sequence

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from agentring.http2.listener import CannotListen
from agentring.rpc.health import Health
from agentring.rpc.limits import SERVER_OPTIONS
from agentring.rpc.reflection import Reflection
from agentring.rpc.service import ServiceHandler, Unimplemented

HEALTH: ServiceDescriptor = health_pb2.DESCRIPTOR.services_by_name["Health"]  # type: ignore[assignment]
REFLECTION: ServiceDescriptor = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]  # type: ignore[assignment]


class Server:
    """A bound server. Resource handling: `start`, then `stop`."""

    def __init__(
        self,
        address: str,
        services: Mapping[ServiceDescriptor, object],
        *,
        first_frame_timeout_s: float,
        reflected: Sequence[str] = (),
        tls: grpc.ServerCredentials | None = None,
    ) -> None:
        """address: `host:port` or `unix:path`; services: objects by what they implement; reflected: further services'
        full names that reflection lists; tls: None: plaintext. Raises CannotListen."""
        self._server = aio.server(options=SERVER_OPTIONS)
        self._health = Health(service.full_name for service in services)
        names = {HEALTH.full_name, REFLECTION.full_name, *reflected, *(service.full_name for service in services)}
        handlers = [
            ServiceHandler(service, servicer, first_frame_timeout_s=first_frame_timeout_s)
            for service, servicer in (*services.items(), (HEALTH, self._health), (REFLECTION, Reflection(names)))
        ]
        self._server.add_generic_rpc_handlers((*handlers, Unimplemented(first_frame_timeout_s=first_frame_timeout_s)))
        try:
            if tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, tls)
        except RuntimeError:
            raise CannotListen(address) from None
        host, colon, _ = address.rpartition(":")
        self.address = address if address.startswith("unix:") else f"{host}{colon}{port}"

    async def start(self) -> None:
        """Serves, with every service NOT_SERVING until told otherwise."""
        await self._server.start()

    def set_condition(self, serving: bool, coordinated: bool) -> None:
        """What health checks are told. coordinated: the coordinator answers."""
        self._health.set_condition(serving, coordinated)

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls and cancels those that are still there after grace_s."""
        await self._server.stop(grace_s)
