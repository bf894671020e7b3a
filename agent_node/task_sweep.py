"""The sweep: tasks that were accepted and that nobody runs any more are run all the same.

Guarantees, on a durable store: a task that its node left PENDING or RUNNING is taken up by a node that lives, at the
second sweep after its lease at the latest, whether or not anybody asks for it. Each node looks after the keys that the
ring gives it, and leaves alone what has changed since its last sweep: that is somebody's, or was until a moment ago.
Nodes with different rings may both reach for a task; its claim decides. A task that runs elsewhere, because the ring
has changed since, is found out by the claim as well. Also removes the tasks whose retention is over.

Owned by the incarnation.
"""

import asyncio
from collections.abc import Callable

import structlog

from agent_node.single_flight import TaskRuns
from agent_node.store import OpenTask, TaskStore
from agentring.cluster.clock import Clock
from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import AgentringError, CoordinatorUnavailable, StoreUnavailable
from agentring.ids import NodeId, TaskRef

_PAGE = 1_000
_AT_ONCE = 32
_DELETE_EVERY_S = 60.0

_log = structlog.get_logger()


class TaskSweep:
    """One node's sweeps."""

    def __init__(
        self,
        store: TaskStore,
        runs: TaskRuns,
        membership: Callable[[], MembershipSnapshot | None],
        node_id: NodeId,
        clock: Clock,
        interval_s: float,
    ) -> None:
        """membership: as it is now; interval_s: the lease's TTL: what is unchanged for so long has lost its node."""
        self._store = store
        self._runs = runs
        self._membership = membership
        self._node_id = node_id
        self._clock = clock
        self._interval_s = interval_s
        self._seen: dict[TaskRef, int] = {}
        """What the last sweep found left, and after which commit."""

    async def run(self) -> None:
        """Sweeps again and again, until cancelled."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self.sweep()
            except (StoreUnavailable, CoordinatorUnavailable) as error:
                _log.info("tasks_not_swept", reason=error.reason)  # the next one will

    async def delete_expired(self) -> None:
        """Removes what has expired, until cancelled."""
        while True:
            await self._clock.sleep(_DELETE_EVERY_S)
            try:
                while await self._store.delete_expired():
                    pass
            except StoreUnavailable as error:
                _log.info("tasks_not_deleted", reason=error.reason)

    async def sweep(self) -> None:
        """Takes up what was left before the last sweep and has not changed since. Raises StoreUnavailable,
        CoordinatorUnavailable."""
        snapshot = self._membership()
        if snapshot is None:
            return
        ring = Ring(snapshot)
        before, self._seen = self._seen, {}
        after: TaskRef | None = None
        while True:
            page = await self._store.list_open(after, _PAGE)
            left = [task for task in page if task.ref not in self._runs and self._is_mine(ring, task)]
            self._seen |= {task.ref: task.commit for task in left}
            due = [task.ref for task in left if before.get(task.ref) == task.commit]
            for start in range(0, len(due), _AT_ONCE):
                await asyncio.gather(*(self._take_up(ref) for ref in due[start : start + _AT_ONCE]))
            if len(page) < _PAGE:
                return
            after = page[-1].ref

    def _is_mine(self, ring: Ring, task: OpenTask) -> bool:
        hosts = (node for node in ring.candidates(task.ref.ring_key) if task.agent in node.agents)
        first = next(hosts, None)
        return first is not None and first.node_id == self._node_id

    async def _take_up(self, ref: TaskRef) -> None:
        try:
            await self._runs.take_up(ref)
        except AgentringError as error:
            _log.debug("task_not_taken_up", reason=error.reason)  # another node's, or for the next sweep
