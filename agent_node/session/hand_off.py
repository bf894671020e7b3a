"""The order in which a draining node's sessions leave it.

Guarantees: each is handed on as soon as its turns have ended, so that its next owner need not wait for the others; no
more than LEAVING_AT_ONCE leave at a time, and the rest can be used until then: among thousands that wait for the store
or for etcd, none could be. Sessions with turns under way take no further ones, and hold up no other. Once the time for
turns is over all leave, however slow the store is. Called by the host.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from agent_node.log_fields import named
from agent_node.session.session import Session
from agentring.errors import NodeDraining

LEAVING_AT_ONCE = 32

_log = structlog.get_logger()


async def hand_off(sessions: Sequence[Session], timeout_s: float, leave: Callable[[Session], Awaitable[None]]) -> None:
    """Returns once all have left. timeout_s: how long turns may go on; leave: hands a settled session on."""
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + timeout_s
    permits = asyncio.Semaphore(LEAVING_AT_ONCE)

    def release_all() -> None:
        for _ in sessions:
            permits.release()

    overdue = loop.call_at(ends_s, release_all)
    try:
        async with asyncio.TaskGroup() as group:
            for session in sessions:
                group.create_task(_hand_off(session, ends_s, leave, permits))
    finally:
        overdue.cancel()


async def _hand_off(
    session: Session, ends_s: float, leave: Callable[[Session], Awaitable[None]], permits: asyncio.Semaphore
) -> None:
    async with permits:
        if session.stop_if_quiet():
            await leave(session)
            return
    try:
        await session.settle(ends_s - asyncio.get_running_loop().time())
    except Exception:  # it has failed meanwhile; the others' hand-offs go on
        _log.warning("session_drain_failed", exc_info=True, **named(session.ref, session.stored.agent))
        session.drop(NodeDraining())
    await leave(session)  # without a permit: it is not to be used any more
