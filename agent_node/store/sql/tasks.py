"""The durable store of tasks, on whatever carries out the SQL store's transactions.

Guarantees what TaskStore promises; how is said in task_transactions.py. Its transactions share the driver's groups
with those of the sessions.
"""

from collections.abc import Callable, Sequence
from functools import partial

from agent_node.store.clock import StoreClock
from agent_node.store.database.driver import Driver
from agent_node.store.sql import task_transactions
from agent_node.store.sql.steps import SqlStepStore
from agent_node.store.sql.storage import SqlStorageStore
from agent_node.store.task_records import ListedTask, OpenTask, StoredTask, TaskEnd, TaskFilter, TaskRequest
from agentring.ids import Epoch, TaskKey, TaskRef, TenantId


class SqlTaskStore:
    """A TaskStore in an SQL database."""

    durable = True

    def __init__(self, driver: Driver, generation: Callable[[], int], clock: StoreClock) -> None:
        """generation: the cluster's, as of now."""
        self._driver = driver
        self.clock = clock
        self._generation = generation
        self.steps = SqlStepStore(driver)
        """The steps of tasks' runs."""
        self.storage = SqlStorageStore(driver)
        """What they have stored by key."""

    async def accept(self, request: TaskRequest) -> StoredTask:
        """As TaskStore."""
        generation = self._generation()
        work = partial(task_transactions.accept, request=request, generation=generation, now=self.clock.now())
        return await self._driver.transact(work, retry=True)

    async def start(self, ref: TaskRef, epoch: Epoch, owner: str) -> StoredTask | None:
        """As TaskStore."""
        generation = self._generation()
        work = partial(task_transactions.start, ref=ref, epoch=epoch, owner=owner, generation=generation)
        return await self._driver.transact(work, retry=False)

    async def assert_owned(self, ref: TaskRef, epoch: Epoch) -> int:
        """As TaskStore."""
        return await self._driver.transact(partial(task_transactions.assert_owned, ref=ref, epoch=epoch), retry=True)

    async def end(self, ref: TaskRef, epoch: Epoch, end: TaskEnd) -> int:
        """As TaskStore."""
        work = partial(task_transactions.end, ref=ref, epoch=epoch, ended=end, now=self.clock.now())
        return await self._driver.transact(work, retry=True)

    async def requeue(self, ref: TaskRef, epoch: Epoch) -> None:
        """As TaskStore."""
        await self._driver.transact(partial(task_transactions.requeue, ref=ref, epoch=epoch), retry=True)

    async def read(self, ref: TaskRef) -> StoredTask | None:
        """As TaskStore."""
        return await self._driver.read(partial(task_transactions.read, ref=ref, now=self.clock.now()))

    async def list_tasks(self, tenant: TenantId, which: TaskFilter, after: TaskKey, at_most: int) -> list[ListedTask]:
        """As TaskStore."""
        now = self.clock.now()
        work = partial(task_transactions.list_tasks, tenant=tenant, which=which, after=after, at_most=at_most, now=now)
        return await self._driver.read(work)

    async def list_open(self, after: TaskRef | None, at_most: int) -> Sequence[OpenTask]:
        """As TaskStore."""
        return await self._driver.read(partial(task_transactions.list_open, after=after, at_most=at_most))

    async def forget_volatile(self, ref: TaskRef) -> None:
        """As TaskStore: the task stays until its retention is over."""

    async def expire_ended(self) -> int:
        """As TaskStore."""
        return await self._driver.transact(partial(task_transactions.expire_ended, now=self.clock.now()), retry=True)
