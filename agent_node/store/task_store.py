"""The store of tasks, as their runs see it.

Every implementation guarantees: a task is kept (PENDING) before its acceptance is sent to anybody; a run raises the
task's epoch, which never falls, before it does anything; every later write of the run is one step that compares the
epoch and that the task is RUNNING, so that no write of an epoch lands after one of a later epoch or after the end; an
ended task stays as it is until its retention is over, unless it ended because nobody watched it. Each write that
changes a task has a commit number, which grows. Writes that a run may try again (`end`, `requeue`) change nothing the
second time and say the same.

Every method may raise StoreUnavailable (whether a write landed is unknown) within the store's deadline. Cancellation:
as StoreUnavailable. A task's run has one write under way at a time; requests and sweeps come at any time, from
any node.
"""

from collections.abc import Sequence
from typing import Protocol

from agent_node.store.clock import StoreClock
from agent_node.store.step_store import StepStore
from agent_node.store.storage_store import StorageStore
from agent_node.store.task_records import ListedTask, OpenTask, StoredTask, TaskEnd, TaskFilter, TaskRequest
from agentring.ids import Epoch, TaskKey, TaskRef, TenantId


class TaskStore(Protocol):
    """Where tasks are kept."""

    @property
    def durable(self) -> bool:
        """Whether a task outlives its node."""

    @property
    def clock(self) -> StoreClock:
        """By which its tasks expire."""

    @property
    def steps(self) -> StepStore:
        """The steps of tasks' runs."""

    @property
    def storage(self) -> StorageStore:
        """What they have stored by key."""

    async def accept(self, request: TaskRequest) -> StoredTask:
        """Keeps the task as PENDING, unless there is one under its key that has not ended, or whose outcome still
        stands; what is kept now. It is this request's if it has its request_id. Raises StaleEpoch: the store has gone
        on to another generation of the cluster."""

    async def start(self, ref: TaskRef, epoch: Epoch, owner: str) -> StoredTask | None:
        """Raises the epoch and begins the next run; what is kept now. None: there is no such task, it has ended, or its
        epoch is no lower. Raises StaleEpoch, as `accept`. Not to be tried again under the same epoch."""

    async def assert_owned(self, ref: TaskRef, epoch: Epoch) -> int:
        """Makes sure that the run still owns its task, at the moment of the commit; the commit number. Raises
        StaleEpoch."""

    async def end(self, ref: TaskRef, epoch: Epoch, end: TaskEnd) -> int:
        """Keeps how the run ended; the commit number. Raises StaleEpoch."""

    async def requeue(self, ref: TaskRef, epoch: Epoch) -> None:
        """The run stopped half-way on purpose: the task is PENDING again. Raises StaleEpoch."""

    async def read(self, ref: TaskRef) -> StoredTask | None:
        """The task; None: there is none, or its retention is over."""

    async def list_tasks(self, tenant: TenantId, which: TaskFilter, after: TaskKey, at_most: int) -> list[ListedTask]:
        """A tenant's tasks in the order of their keys, those after a key."""

    async def list_open(self, after: TaskRef | None, at_most: int) -> Sequence[OpenTask]:
        """The tasks of all tenants that have not ended, in one order, those after one; None: from the first."""

    async def forget_volatile(self, ref: TaskRef) -> None:
        """This node gives the task's key up. A volatile store forgets the task: what another node may run from now on
        must not be found here. A durable one keeps it."""

    async def expire_ended(self) -> int:
        """Removes tasks whose retention is over, some at a time; how many."""
