"""How a process says that it is: its health and its metrics."""

import asyncio
import time
import urllib.request
from collections.abc import Callable

from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from prometheus_client.parser import text_string_to_metric_families

from agentring.rpc.health import COORDINATOR

PATIENCE_S = 20.0


async def is_healthy(address: str, service: str = "") -> bool:
    """What the health check says."""
    async with aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        # (its type stubs leave the method out)
        check = HealthStub(channel).Check  # type: ignore[attr-defined]
        answer = await check(HealthCheckRequest(service=service), timeout=5, wait_for_ready=True)
    return bool(answer.status == HealthCheckResponse.SERVING)


async def has_coordinator(address: str) -> bool:
    """Whether the process says that etcd is of use to it."""
    return await is_healthy(address, COORDINATOR)


def metrics(address: str) -> dict[str, float]:
    """All that the process counts: `name` or `name{value}` of its one label."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def state(address: str, process: str) -> str:
    """The state that the metrics of a `node` or `router` say it is in."""
    received = await asyncio.to_thread(metrics, address)
    (word,) = (
        name.partition("{")[2].rstrip("}")
        for name, value in received.items()
        if name.startswith(f"agentring_{process}_state{{") and value
    )
    return word


async def until_state(address: str, process: str, wanted: str, patience_s: float = PATIENCE_S) -> None:
    """Returns once it is in this state."""
    deadline_s = time.monotonic() + patience_s
    while (word := await state(address, process)) != wanted:
        assert time.monotonic() < deadline_s, f"{process} at {address} is {word}, not {wanted}"
        await asyncio.sleep(0.02)


async def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Returns once it holds, of something that other processes do."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.02)
