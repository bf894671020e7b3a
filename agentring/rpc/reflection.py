"""grpc.reflection.v1alpha.ServerReflection, for grpcurl and its like. Called by the server."""

from collections.abc import AsyncIterator, Iterable

from grpc_reflection.v1alpha import reflection, reflection_pb2

from agentring.rpc.service import Call


class Reflection:
    """grpcio-reflection's answers, served like every other service of ours."""

    def __init__(self, services: Iterable[str]) -> None:
        """services: full names that are listed."""
        self._answers = reflection.aio.ReflectionServicer(sorted(services))

    async def ServerReflectionInfo(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], call: Call
    ) -> None:
        """An answer for each request."""
        async for response in self._answers.ServerReflectionInfo(requests, None):  # type: ignore[attr-defined]
            await call.send(response)
