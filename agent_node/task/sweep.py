"""The sweep of tasks: those that a dead node left are run all the same.

Guarantees what ownership/sweep.py says: a task that its node left PENDING or RUNNING is run, whether or not anybody
asks for it. Owned by the incarnation.
"""

from collections.abc import Callable, Sequence

from agent_node.ownership.sweep import Sweep
from agent_node.store import OpenTask, TaskStore
from agent_node.task.runs import TaskRuns
from agentring.cluster.clock import Clock
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import NodeId, TaskRef


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

    @property
    def _draining(self) -> bool:
        return self._runs.draining

    async def _list_open(self, after: TaskRef | None, at_most: int) -> Sequence[OpenTask]:
        return await self._store.list_open(after, at_most)

    def _is_here(self, ref: TaskRef) -> bool:
        return ref in self._runs

    async def _resume(self, ref: TaskRef) -> None:
        await self._runs.resume(ref)
