"""Health checks: what the process says of itself."""

import asyncio
from typing import Any

from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from agentring.errors import (
    MalformedRequest,
    ServiceNotFound,
)
from harness.raw import (
    assert_refused,
    exchange,
)
from harness.scripted_sessions import PATIENCE_S, Sessions, responses_of, serving


def health(channel: aio.Channel, service: str = "", *, method: str = "Check") -> Any:
    return exchange(channel, f"/grpc.health.v1.Health/{method}", HealthCheckRequest(service=service))


async def test_health_is_what_the_process_says(sessions: Sessions) -> None:
    async with serving(sessions) as (server, channel):
        for service in ("", "agentring.v1.SessionService"):
            for serving_now, status in (
                (False, HealthCheckResponse.NOT_SERVING),
                (True, HealthCheckResponse.SERVING),
                (False, HealthCheckResponse.NOT_SERVING),
            ):
                server.set_condition(serving_now, coordinated=True, sessions=False)
                (raw,) = await responses_of(health(channel, service))
                assert HealthCheckResponse.FromString(raw).status == status
        await assert_refused(health(channel, "agentring.v1.TaskService"), ServiceNotFound())
        await assert_refused(exchange(channel, "/grpc.health.v1.Health/Check", b"\xff"), MalformedRequest())


async def test_it_is_not_serving_until_the_process_says_so(sessions: Sessions) -> None:
    async with serving(sessions) as (_, channel):
        (raw,) = await responses_of(health(channel))
        assert HealthCheckResponse.FromString(raw).status == HealthCheckResponse.NOT_SERVING


async def test_a_watcher_of_health_is_told_of_each_change_and_of_no_other(sessions: Sessions) -> None:
    async with serving(sessions) as (server, channel), asyncio.timeout(PATIENCE_S):
        watching = aiter(health(channel, method="Watch"))

        async def status() -> int:
            return HealthCheckResponse.FromString(await anext(watching)).status

        assert await status() == HealthCheckResponse.NOT_SERVING
        server.set_condition(False, coordinated=True, sessions=False)
        server.set_condition(True, coordinated=True, sessions=True)
        assert await status() == HealthCheckResponse.SERVING
        server.set_condition(True, coordinated=True, sessions=True)
        server.set_condition(False, coordinated=True, sessions=False)
        assert await status() == HealthCheckResponse.NOT_SERVING
        unknown = aiter(health(channel, "unheard", method="Watch"))
        assert HealthCheckResponse.FromString(await anext(unknown)).status == HealthCheckResponse.SERVICE_UNKNOWN
