"""A drained node while it waits: registered as drained, so that operators see it and can have it back.

Guarantees: nothing is claimed under this registration, and it stands on no ring; where it is lost it is made again, as
often as need be, and where etcd does not take it, waiting goes on without it; with the end of the waiting its lease is
revoked. Called by IncarnationSupervisor between a drain and what follows it: the process's end, or the node's next
incarnation.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from agent_node.lifecycle.interruptible import unless_set
from agentring.cluster.clock import Clock
from agentring.cluster.registration import Registration

_PAUSE_S = 2.0


async def wait_as_drained(
    over: asyncio.Event,
    clock: Clock,
    join: Callable[[], Coroutine[Any, Any, Registration | None]],
    watch: Callable[[Registration], list[Coroutine[Any, Any, Any]]],
) -> None:
    """Waits until `over` is set. join: registers the node as drained; None: it could not; watch: what looks after a
    registration, until it is cancelled. Cancellation: the lease is revoked."""
    while not over.is_set():
        registration = await unless_set(over, join())
        if registration is not None:
            await _keep(over, registration, watch(registration))
        await unless_set(over, clock.sleep(_PAUSE_S))


async def _keep(over: asyncio.Event, registration: Registration, watching: list[Coroutine[Any, Any, Any]]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in (registration.lease.keep(), *watching)]
        try:
            await unless_set(over, registration.lease.fenced())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.shield(registration.lease.revoke_quietly())
