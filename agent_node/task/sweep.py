"""The sweep of tasks: those that were accepted and that nobody runs any more are run all the same.

Guarantees what ownership/sweep.py says: a task that its node left PENDING or RUNNING is run, whether or not anybody
asks for it. Also removes the tasks whose retention is over. Owned by the incarnation.
"""

from collections.abc import Callable, Sequence

import structlog

from agent_node.ownership.sweep import Sweep
from agent_node.store import OpenTask, TaskStore
from agent_node.task.runs import TaskRuns
from agentring.cluster.clock import Clock
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import StoreUnavailable
from agentring.ids import NodeId, TaskRef

_DELETE_EVERY_S = 60.0

_log = structlog.get_logger()


class TaskSweep(Sweep[TaskRef]):
    """One node's sweeps of tasks."""

    def __init__(
        self,
        store: TaskStore,
        runs: TaskRuns,
        membership: Callable[[], MembershipSnapshot | None],
        node_id: NodeId,
        clock: Clock,
        *,
        interval_s: float,
        claims_are_made: Callable[[], bool],
    ) -> None:
        """runs: where they are run; the others as Sweep's."""
        super().__init__("task", membership, node_id, clock, interval_s=interval_s, claims_are_made=claims_are_made)
        self._store = store
        self._runs = runs

    async def delete_expired(self) -> None:
        """Removes what has expired, until cancelled."""
        while True:
            await self._clock.sleep(_DELETE_EVERY_S)
            try:
                while await self._store.delete_expired():
                    pass
            except StoreUnavailable as error:
                _log.info("tasks_not_deleted", reason=error.reason)

    @property
    def _draining(self) -> bool:
        return self._runs.draining

    async def _list_open(self, after: TaskRef | None, at_most: int) -> Sequence[OpenTask]:
        return await self._store.list_open(after, at_most)

    def _is_here(self, ref: TaskRef) -> bool:
        return ref in self._runs

    async def _activate(self, ref: TaskRef) -> None:
        await self._runs.take_up(ref)
