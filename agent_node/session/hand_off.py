"""The order in which a draining node's sessions leave it.

Guarantees: each is handed on as soon as its turns have ended, so that its next owner need not wait for the others; no
more than LEAVING_AT_ONCE are on their way out together, and until one of the rest has its turn to go it goes on as
ever: waiting for the store or for etcd among thousands, it could not be used meanwhile. Sessions with turns under way
take no further ones, and hold nobody up. Once the time for turns is over everybody leaves, however slow the store is.
Called by the host.
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
    places = asyncio.Semaphore(LEAVING_AT_ONCE)

    def let_all_go() -> None:
        for _ in sessions:
            places.release()

    overdue = loop.call_at(ends_s, let_all_go)
    try:
        async with asyncio.TaskGroup() as group:
            for session in sessions:
                group.create_task(_hand_off(session, ends_s, leave, places))
    finally:
        overdue.cancel()


async def _hand_off(
    session: Session, ends_s: float, leave: Callable[[Session], Awaitable[None]], places: asyncio.Semaphore
) -> None:
    async with places:
        if session.stop_if_quiet():
            await leave(session)
            return
    try:
        await session.settle(ends_s - asyncio.get_running_loop().time())
    except Exception:  # it has failed meanwhile; the others' hand-offs go on
        _log.warning("session_drain_failed", exc_info=True, **named(session.ref, session.stored.agent))
        session.drop(NodeDraining())
    await leave(session)  # behind nobody: it is not to be used any more
