"""Calls with one answer, tried again until they have it.

Guarantees what retry.py does. Only for calls that may be made twice. Called by session.py and ring.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from grpc import aio

from agentring.client.errors import read_failure
from agentring.client.retry import RetryPolicy, RetrySchedule
from agentring.client.routers import Routers

T = TypeVar("T")

Metadata = tuple[tuple[str, str], ...]


async def call(
    routers: Routers, policy: RetryPolicy, try_once: Callable[[aio.Channel, Metadata, float], Awaitable[T]]
) -> T:
    """The answer. try_once: makes the call on a channel, with metadata and a time-out in seconds.

    Raises AgentringError, ClientError. Cancellation: what the call asked for may happen all the same.
    """
    schedule = RetrySchedule(policy)
    while True:
        metadata = await routers.metadata()
        channel = routers.current()
        try:
            return await try_once(channel, metadata, schedule.bound(policy.call_timeout_s))
        except aio.AioRpcError as error:
            failure = await routers.after(read_failure(error), channel, metadata)
        except asyncio.CancelledError:
            routers.check_cancelled()
            raise
        await schedule.wait(failure)
