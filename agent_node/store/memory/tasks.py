"""The volatile store of tasks: in the process, and of use only while this node holds the keys' claims."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from agent_node.store.clock import Moment, StoreClock, VolatileClock
from agent_node.store.memory.steps import MemoryStepStore
from agent_node.store.step_records import Life, RunOwnership
from agent_node.store.task_records import ListedTask, OpenTask, StoredTask, TaskEnd, TaskFilter, TaskRequest
from agentring.errors import StaleEpoch
from agentring.ids import Epoch, TaskKey, TaskRef, TenantId
from agentring.v1.task_pb2 import TASK_STATE_PENDING, TASK_STATE_RUNNING, TASK_STATE_UNSPECIFIED


class MemoryTaskStore:
    """A TaskStore of one node alone."""

    durable = False

    def __init__(self, clock: StoreClock | None = None) -> None:
        """Empty. clock: None: the machine's own."""
        self.clock = clock or VolatileClock()
        self._tasks: dict[TaskRef, StoredTask] = {}
        self.steps = MemoryStepStore(lambda run, _: self._count_step(run))
        """The steps of tasks' runs."""
        self.storage = self.steps.storage
        """What they have stored by key."""

    async def accept(self, request: TaskRequest) -> StoredTask:
        """As TaskStore."""
        known, now = self._tasks.get(request.ref), self.clock.now()
        if known is not None and not (known.has_ended and (known.may_begin_anew or known.has_expired(now))):
            return known
        task = StoredTask(
            ref=request.ref,
            agent=request.agent,
            fingerprint=request.fingerprint,
            input=request.input,
            retention_s=request.retention_s,
            cancel_when_unwatched=request.cancel_when_unwatched,
            request_id=request.request_id,
            state=TASK_STATE_PENDING,
            epoch=known.epoch if known is not None else Epoch(0),
            owner="",
            attempt=0,
            created_ns=now.wall_ns,
            commit=known.commit + 1 if known is not None else 1,
        )
        self._tasks[request.ref] = task
        return task

    async def start(self, ref: TaskRef, epoch: Epoch, owner: str) -> StoredTask | None:
        """As TaskStore."""
        task = self._tasks.get(ref)
        if task is None or task.has_ended or task.epoch >= epoch:
            return None
        deaths = task.deaths + (task.state == TASK_STATE_RUNNING and task.owner != owner)
        return self._keep(
            replace(task, epoch=epoch, owner=owner, state=TASK_STATE_RUNNING, attempt=task.attempt + 1, deaths=deaths)
        )

    async def assert_owned(self, ref: TaskRef, epoch: Epoch) -> int:
        """As TaskStore."""
        return self._keep(self._owned(ref, epoch)).commit

    async def end(self, ref: TaskRef, epoch: Epoch, end: TaskEnd) -> int:
        """As TaskStore."""
        known = self._tasks.get(ref)
        if known is not None and known.has_ended and (known.epoch, known.outcome) == (epoch, end.outcome):
            return known.commit
        owned, now = self._owned(ref, epoch), self.clock.now()
        ended = replace(
            owned,
            state=end.state,
            input=b"",
            ended_ns=now.wall_ns,
            expires_ns=now.expiry_ns(owned.retention_s),
            may_begin_anew=end.may_begin_anew,
            outcome=end.outcome,
            events=end.events,
            text=end.text,
        )
        if end.life_id:
            self.steps.forget(Life(ref.tenant, end.life_id))
        return self._keep(ended).commit

    async def requeue(self, ref: TaskRef, epoch: Epoch) -> None:
        """As TaskStore."""
        known = self._tasks.get(ref)
        if known is None or (known.epoch, known.state) != (epoch, TASK_STATE_PENDING):
            self._keep(replace(self._owned(ref, epoch), state=TASK_STATE_PENDING))

    async def read(self, ref: TaskRef) -> StoredTask | None:
        """As TaskStore."""
        task = self._tasks.get(ref)
        return None if task is None or task.has_expired(self.clock.now()) else task

    async def list_tasks(self, tenant: TenantId, which: TaskFilter, after: TaskKey, at_most: int) -> list[ListedTask]:
        """As TaskStore; those of this node."""
        now = self.clock.now()
        found = (task for task in self._tasks.values() if _is_listed(task, tenant, which, after, now))
        return [
            ListedTask(
                task.ref.task_key,
                task.agent,
                task.state,
                task.epoch,
                task.owner,
                task.attempt,
                task.created_ns,
                task.ended_ns,
            )
            for task in sorted(found, key=lambda task: task.ref.task_key)[:at_most]
        ]

    async def list_open(self, after: TaskRef | None, at_most: int) -> Sequence[OpenTask]:
        """As TaskStore; those of this node."""
        first = (after.tenant, after.task_key) if after is not None else ("", "")
        found = sorted(
            (ref.tenant, ref.task_key)
            for ref, task in self._tasks.items()
            if not task.has_ended and (ref.tenant, ref.task_key) > first
        )
        tasks = (self._tasks[TaskRef(*key)] for key in islice(found, at_most))
        return [OpenTask(task.ref, task.agent, task.commit) for task in tasks]

    async def forget_volatile(self, ref: TaskRef) -> None:
        """As TaskStore."""
        if (task := self._tasks.pop(ref, None)) is not None:
            self.steps.forget(Life(ref.tenant, task.life_id))

    async def expire_ended(self) -> int:
        """As TaskStore."""
        now = self.clock.now()
        due = [ref for ref, task in self._tasks.items() if task.has_expired(now)]
        for ref in due:
            del self._tasks[ref]
        return len(due)

    def _count_step(self, run: RunOwnership) -> int:
        assert isinstance(run.ref, TaskRef)
        return self._keep(self._owned(run.ref, run.epoch)).commit

    def _owned(self, ref: TaskRef, epoch: Epoch) -> StoredTask:
        task = self._tasks.get(ref)
        if task is None or (task.epoch, task.state) != (epoch, TASK_STATE_RUNNING):
            raise StaleEpoch
        return task

    def _keep(self, task: StoredTask) -> StoredTask:
        kept = self._tasks[task.ref] = replace(task, commit=task.commit + 1)
        return kept


def _is_listed(task: StoredTask, tenant: TenantId, which: TaskFilter, after: TaskKey, now: Moment) -> bool:
    return (
        task.ref.tenant == tenant
        and task.ref.task_key > after
        and task.ref.task_key.startswith(which.prefix)
        and which.agent in ("", task.agent)
        and which.state in (TASK_STATE_UNSPECIFIED, task.state)
        and not task.has_expired(now)
    )
