"""Deletes the rows of `ctx.once` whose retention is over. Every node does; none needs a claim for it. Called by the
incarnation."""

import structlog

from agent_node.store.once_store import OnceStore
from agentring.cluster.clock import Clock
from agentring.errors import AgentringError

_EVERY_S = 30.0

_log = structlog.get_logger()


async def expire_runs(store: OnceStore, clock: Clock) -> None:
    """Deletes expired runs, until cancelled."""
    while True:
        await clock.sleep(_EVERY_S)
        try:
            while await store.expire_ended():
                pass
        except AgentringError as error:
            _log.warning("once_burial_failed", reason=error.reason)
