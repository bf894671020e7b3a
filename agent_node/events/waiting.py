"""How readers of an event log wait.

In a module of its own, and interpreted: what mypyc compiles must not wait within a `try` (hatch_build.py).
"""

import asyncio

from agent_node.events.log import EventLog


async def woken(wake: asyncio.Event, due_s: float) -> None:
    """Waits for `wake`, which is set at due_s (of the loop's clock) at the latest. Cancellation: nothing is left."""
    timer = asyncio.get_running_loop().call_at(due_s, wake.set)
    try:
        await wake.wait()
    finally:
        timer.cancel()


async def until_ended(log: EventLog) -> None:
    """Returns once no more events will come. Cancellation: nothing is left."""
    wake = asyncio.Event()
    log.subscribe(wake)
    try:
        while log.end_error is None:
            wake.clear()
            await wake.wait()
    finally:
        log.unsubscribe(wake)
