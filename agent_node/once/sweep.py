"""The sweep of steps (`ctx.once`): ends the runs that a dead node left and that nobody will run again.

A run that was cut off is run again by its turn or task, which its next owner begins anew. Where that has ended, or does
not exist any more, nobody would: the run is FAILED then, or UNKNOWN where it must not run twice. A run is looked at
twice, with `every_s` in between, and must not have changed meanwhile; the key's claim decides whether it is really
nobody's.

Every node looks, at different moments; the second one finds nothing to do. Called by the incarnation.
"""

from collections.abc import Awaitable, Callable

import structlog

from agent_node.log_fields import named
from agent_node.once.keys import OnceKeys
from agent_node.store import Store, TaskStore
from agent_node.store.once_records import OnceCaller, StoredRun
from agent_node.store.once_store import OnceStore
from agentring.cluster.clock import Clock
from agentring.errors import AgentringError, CoordinatorUnavailable, NodeFenced, StoreUnavailable
from agentring.ids import OnceRef, TaskRef

_AT_ONCE = 500

_log = structlog.get_logger()


class OrphanSweep:
    """Looks for runs whose turns have ended."""

    def __init__(self, keys: OnceKeys, store: OnceStore, has_ended: Callable[[OnceCaller], Awaitable[bool]]) -> None:
        """has_ended: whether a turn, or a task's run, has ended and will not be run again."""
        self._keys = keys
        self._store = store
        self._has_ended = has_ended
        self._seen: dict[OnceRef, StoredRun] = {}

    async def run(self, clock: Clock, every_s: float) -> None:
        """Looks every so many seconds, until cancelled."""
        while True:
            await clock.sleep(every_s)
            try:
                await self.look()
            except AgentringError as error:
                _log.warning("once_not_swept", reason=error.reason)  # the next look will

    async def look(self) -> None:
        """One look at all runs that have not ended. Raises NodeFenced, CoordinatorUnavailable, StoreUnavailable."""
        before, self._seen = self._seen, {}
        after: OnceRef | None = None
        while True:
            page = await self._store.open_runs(after, _AT_ONCE)
            for row in page:
                self._seen[row.ref] = row
                if before.get(row.ref) == row and await self._has_ended(row.caller):
                    await self._end(row)
            if len(page) < _AT_ONCE:
                return
            after = page[-1].ref

    async def _end(self, row: StoredRun) -> None:
        """One that cannot be ended is left to the next look, and keeps no other from being ended."""
        try:
            await self._keys.end_orphan(row.ref, row.caller)
        except (NodeFenced, CoordinatorUnavailable, StoreUnavailable):
            raise  # it is the same for all
        except AgentringError as error:
            _log.warning("once_orphan_not_ended", reason=error.reason)
        except Exception:
            _log.exception("once_orphan_not_ended", **named(row.caller.ref, turn_id=row.caller.turn_id))


async def has_ended(sessions: Store, tasks: TaskStore, caller: OnceCaller) -> bool:
    """Whether a turn or a task has ended, by its own row: that nobody runs it at the moment says nothing, since its
    next owner begins it again. Raises StoreUnavailable."""
    if isinstance(caller.ref, TaskRef):
        task = await tasks.read(caller.ref)
        return task is None or task.has_ended
    turn = await sessions.read_turn(caller.ref, caller.turn_id)
    return turn is None or turn.end_seq is not None
