"""Where the steps of a task's run are recorded: in the store of tasks, under the run's epoch.

Guarantees: nothing is written once the run is over, though it was asked for before; one write at a time; a write or
read that fails stops the run, whatever its agent makes of it, and the next one goes on with the task. Made by
runner.py, for one attempt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from agent_node.run.environment import RunEnvironment
from agent_node.run.event_rows import event_rows
from agent_node.run.restarts import published_through
from agent_node.run.steps_under_way import StepsUnderWay
from agent_node.step.decided_end import decided
from agent_node.store import Publication, TaskStore
from agent_node.store.step_records import BlobChunk, RunOwnership, StoredStep
from agent_node.store.storage_records import StorageEntry, StorageValue, StorageWrite, task_scope
from agent_node.task.run import TaskRun
from agentring.errors import SessionCorrupt, StaleEpoch, StoreUnavailable

T = TypeVar("T")


async def decide_end(env: RunEnvironment, store: TaskStore, run: TaskRun, reason: str) -> None:
    """Stores that a run is to end, before its agent is asked to: its clean-up may record steps. Does nothing where none
    may be recorded, or the run has ended. Raises StaleEpoch, StoreUnavailable."""
    if store.durable and run.may_have_steps and not run.has_ended:
        owned = RunOwnership(run.ref, run.epoch, env.owner, run.request_id)
        await store.steps.keep(owned, [decided(reason, run.attempt)])


class RunSteps:
    """A StepRecorder."""

    def __init__(self, env: RunEnvironment, store: TaskStore, run: TaskRun, tasks: asyncio.TaskGroup) -> None:
        """tasks: of the incarnation."""
        self._env = env
        self._store = store
        self._run = run
        self._scope = task_scope(run.ref.tenant, run.request_id)
        self._owned = RunOwnership(run.ref, run.epoch, env.owner, run.request_id, storage=self._scope)
        self._writing = asyncio.Lock()
        self._is_over = False
        self._under_way = run.open_steps = StepsUnderWay()
        self.tasks = tasks

    @property
    def life_id(self) -> str:
        """As StepRecorder."""
        return self._owned.life_id

    def check(self) -> None:
        """As StepRecorder."""
        if self._run.failure is not None:
            raise self._run.failure

    async def read(self, after_ordinal: int) -> Sequence[StoredStep]:
        """As StepRecorder."""
        return await self._of_store(self._store.steps.read(self._owned.life, after_ordinal))

    async def read_chunk(self, digest: bytes, number: int) -> bytes | None:
        """As StepRecorder."""
        return await self._of_store(self._store.steps.read_chunk(self._owned.life, digest, number))

    async def read_value(self, key: bytes) -> StorageValue | None:
        """As StepRecorder."""
        return await self._of_store(self._store.storage.read(self._scope, key))

    async def read_keys(self, after: bytes) -> Sequence[StorageEntry]:
        """As StepRecorder."""
        return await self._of_store(self._store.storage.keys(self._scope, after))

    def mark(self) -> int:
        """As StepRecorder."""
        return self._run.log.cut() if self._store.durable else 0

    async def begun(self, step: StoredStep) -> None:
        """As StepRecorder."""
        owned = self._owned
        self._env.audit.write(
            "step_begun", owned.ref, epoch=owned.epoch, turn="", attempt=step.attempt, step=step.step_id.hex()
        )
        self._under_way.begun(step)

    async def keep(self, steps: Sequence[StoredStep], storage: Sequence[StorageWrite] = ()) -> None:
        """As StepRecorder."""
        await self._written(lambda: self._keep(steps, storage))

    async def keep_chunk(self, chunk: BlobChunk) -> None:
        """As StepRecorder."""
        await self._written(lambda: self._store.steps.keep_chunk(self._owned, chunk))

    def close(self) -> None:
        """As StepRecorder."""
        self._is_over = True

    async def _keep(self, steps: Sequence[StoredStep], storage: Sequence[StorageWrite]) -> None:
        """The audit log says what the store has, also where the lease has ended meanwhile."""
        run, published = self._run, steps[-1].published if steps else None
        if published is not None:
            published = run.valid.counted(published)
            steps = [*steps[:-1], replace(steps[-1], published=published)]
        publication = None
        if published is not None and published.seq > run.stored_seq and self._store.durable:
            publication = Publication(None, event_rows(published_through(run.log, run.stored_seq, published.seq), 0))
        commit = await self._store.steps.keep(self._owned, steps, storage, publication)
        if publication is not None and published is not None:
            run.stored_seq = published.seq
        numbered = {"commit": commit} if self._store.durable else {}
        if storage:
            keys = len(storage)
            self._env.audit.write(
                "storage_written", self._run.ref, epoch=self._run.epoch, turn="", keys=keys, **numbered
            )
        self._under_way.recorded(steps)
        for step in steps:
            self._env.audit.write(
                "step_recorded",
                self._run.ref,
                epoch=self._run.epoch,
                turn="",
                step=step.step_id.hex(),
                state=step.state.name,
                **numbered,
            )

    async def _written(self, write: Callable[[], Awaitable[object]]) -> None:
        async with self._writing:
            self._env.lease.check()
            if self._is_over:
                raise RuntimeError("the run is over")
            self._run.may_have_steps = True
            await self._of_store(write())
        self._env.lease.check()

    async def _of_store(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (StaleEpoch, StoreUnavailable, SessionCorrupt) as error:
            self._run.fail(error)
            raise
