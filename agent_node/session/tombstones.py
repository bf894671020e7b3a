"""Closed sessions leave a tombstone, so that their ids are not used again at once. Here tombstones expire.

In a durable store the session's row is the tombstone, and any node removes it; in a volatile one it is the closed
session itself, with its claim, on the node that owns it. A node of the release before that removes a session leaves
what it knows nothing of. Called by the incarnation.
"""

import structlog

from agent_node.session.host import Host
from agent_node.store import Store
from agentring.cluster.clock import Clock
from agentring.errors import AgentringError

_LOOK_EVERY_S = 60.0
_LEFTOVERS_EVERY_S = 3_600.0

_log = structlog.get_logger()


async def expire_stored(store: Store, clock: Clock, tombstone_s: float) -> None:
    """Removes sessions from a durable store that have been closed for tombstone_s, until cancelled."""
    while True:
        await clock.sleep(min(tombstone_s, _LOOK_EVERY_S) + 1)
        try:
            while await store.expire_closed(tombstone_s):
                pass
        except AgentringError as error:
            _log.warning("burial_failed", reason=error.reason)


async def remove_leftovers(store: Store, clock: Clock) -> None:
    """Removes from a durable store what nodes of an earlier release leave of what runs store by key."""
    while True:
        await clock.sleep(_LEFTOVERS_EVERY_S)
        try:
            if count := await store.storage.remove_leftovers():
                _log.info("leftovers_removed", count=count)
        except AgentringError as error:
            _log.warning("leftovers_stay", reason=error.reason)


async def expire_owned(host: Host, clock: Clock, tombstone_s: float) -> None:
    """Gives up sessions of a volatile store that have been closed for tombstone_s."""
    due_s = clock.now_s() - tombstone_s
    for session in host.sessions:
        if session.closed_at_s is not None and session.closed_at_s <= due_s:
            await host.give_up(session)
