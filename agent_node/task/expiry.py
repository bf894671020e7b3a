"""Deletes the tasks whose retention is over. Every node does; none needs a claim for it. Called by the incarnation."""

import structlog

from agent_node.store import TaskStore
from agentring.cluster.clock import Clock
from agentring.errors import StoreUnavailable

_EVERY_S = 60.0

_log = structlog.get_logger()


async def expire_tasks(store: TaskStore, clock: Clock) -> None:
    """Deletes expired tasks, until cancelled."""
    while True:
        await clock.sleep(_EVERY_S)
        try:
            while await store.expire_ended():
                pass
        except StoreUnavailable as error:
            _log.info("tasks_not_deleted", reason=error.reason)
