"""Files that no turn has used for an hour expire, on whatever node's behalf they were put. Run by the incarnation."""

import structlog

from agent_node.store import Store
from agent_node.store.file_records import UNUSED_S
from agentring.cluster.clock import Clock
from agentring.errors import AgentringError

_LOOK_EVERY_S = 60.0

_log = structlog.get_logger()


async def expire(store: Store, clock: Clock) -> None:
    """Removes them from a durable store, until cancelled."""
    while True:
        await clock.sleep(_LOOK_EVERY_S)
        try:
            while await store.files.expire(UNUSED_S):
                pass
        except AgentringError as error:
            _log.warning("unused_files_stay", reason=error.reason)
