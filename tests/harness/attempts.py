"""One run of an agent through all its attempts, with a store of steps that outlives them and can be made to fail."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from agent_node.run.outcome import Completed, Failed
from agent_node.run.run_input import Questions
from agent_node.store.memory.storage import MemoryStorageStore
from agent_node.store.step_records import PAGE_ROWS, BlobChunk, StepState, StoredStep
from agent_node.store.storage_records import StorageEntry, StorageScope, StorageValue, StorageWrite
from agentring.agent import Agent
from agentring.errors import NodeDraining, StoreUnavailable
from agentring.ids import TenantId
from harness.bench import SHORT_S, Bench
from harness.clock import PATIENCE_S

SCOPE = StorageScope(TenantId("default"), "of the run")


class Kept:
    """What a store has of one run."""

    def __init__(self) -> None:
        self.rows: list[StoredStep] = []
        self.chunks: dict[tuple[bytes, int], bytes] = {}
        self.life_id = "life"
        self.storage = MemoryStorageStore()
        self.changes_values = False
        """Whether what is read by key is not what was written."""
        self.commits: list[int] = []
        """How many rows each commit had."""

    def stored(self) -> dict[str, bytes]:
        """What is stored by key."""
        return {key.decode(): value for key, value in self.storage._values.get(SCOPE, {}).items()}

    def names(self) -> list[str]:
        """Name and state of each row."""
        return [f"{row.name} {row.state.name}" for row in self.rows]


class Attempt:
    """A StepRecorder of one attempt, which ends with a commit of the test's choice."""

    def __init__(self, kept: Kept, tasks: asyncio.TaskGroup, dies_at: float) -> None:
        """dies_at: the commit with which it ends; n: before that one has landed, n + 0.5: after it has, unanswered."""
        self.kept = kept
        self.tasks = tasks
        self.life_id = kept.life_id
        self.dies_at = dies_at
        self.commits = 0
        self.died = asyncio.Event()
        self.is_closed = False
        self.cut_off = False
        """The run is left to its next owner."""
        self.held: asyncio.Event | None = None
        """What a commit waits for."""
        self.reached = asyncio.Event()
        """Set once a commit was begun."""
        self.error: Exception | None = None
        """What a commit fails with instead of the end of the attempt."""

    def check(self) -> None:
        if self.cut_off:
            raise NodeDraining

    async def read(self, after_ordinal: int) -> Sequence[StoredStep]:
        await asyncio.sleep(0)
        return self.kept.rows[after_ordinal : after_ordinal + PAGE_ROWS]

    async def read_chunk(self, digest: bytes, number: int) -> bytes | None:
        await asyncio.sleep(0)
        return self.kept.chunks.get((digest, number))

    async def read_value(self, key: bytes) -> StorageValue | None:
        await asyncio.sleep(0)
        value = await self.kept.storage.read(SCOPE, key)
        return replace(value, data=value.data + b"?") if value is not None and self.kept.changes_values else value

    async def read_keys(self, after: bytes) -> Sequence[StorageEntry]:
        await asyncio.sleep(0)
        return await self.kept.storage.keys(SCOPE, after)

    def mark(self) -> int:
        """Where the log is does not matter here."""
        return 0

    async def begun(self, step: StoredStep) -> None:
        """Nobody asks for it."""

    async def keep(self, steps: Sequence[StoredStep], storage: Sequence[StorageWrite] = ()) -> None:
        assert [step.ordinal for step in steps] == list(
            range(len(self.kept.rows) + 1, len(self.kept.rows) + 1 + len(steps))
        )

        def land() -> None:
            self.kept.rows.extend(steps)
            self.kept.storage.write(SCOPE, storage)

        await self._commit(land)
        self.kept.commits.append(len(steps))

    async def keep_chunk(self, chunk: BlobChunk) -> None:
        await self._commit(lambda: self.kept.chunks.update({(chunk.digest, chunk.number): chunk.data}))

    def close(self) -> None:
        self.is_closed = True

    async def _commit(self, land: Callable[[], None]) -> None:
        self.reached.set()
        if self.held is not None:
            await self.held.wait()
        await asyncio.sleep(0)
        self.commits += 1
        if self.died.is_set() or self.is_closed:
            raise StoreUnavailable
        if self.commits + 0.5 >= self.dies_at:
            if self.commits < self.dies_at:
                land()
            if self.error is not None:
                raise self.error
            self.died.set()
            await asyncio.get_running_loop().create_future()
        land()


class Ran:
    """What the attempts' functions did, to be called by the agents of tests."""

    def __init__(self) -> None:
        self.calls: Counter[Any] = Counter()
        self.order: list[Any] = []
        self._woken = asyncio.Event()

    def called(self, name: Any) -> None:
        """A function has begun."""
        self.calls[name] += 1
        self.order.append(name)
        self._woken.set()

    async def until_called(self, name: Any, times: int = 1) -> None:
        """Returns once functions of this name have begun so often."""
        while self.calls[name] < times:
            self._woken.clear()
            await self._woken.wait()

    async def effect(self, name: Any, *, waits: int = 1) -> Any:
        """Something with an effect; returns what it was called with."""
        self.called(name)
        for _ in range(waits):
            await asyncio.sleep(0)
        return name

    async def failing(self, text: str) -> Any:
        self.calls[text] += 1
        raise KeyError(text)


class Run:
    """One run."""

    def __init__(
        self,
        agent: Agent,
        *,
        step_wait_s: float = SHORT_S,
        timeout_s: float = PATIENCE_S,
        max_storage_bytes: int = 64 << 20,
    ) -> None:
        self.agent = agent
        self.kept = Kept()
        self.attempts = 0
        self.step_wait_s = step_wait_s
        self.timeout_s = timeout_s
        self.max_storage_bytes = max_storage_bytes
        self.bench = Bench()
        self.last: Attempt | None = None
        self.questions: Questions | None = None
        """Outlives the attempts, as the session's does."""
        self.once: Any = None

    async def attempt(
        self,
        dies_at: float = float("inf"),
        *,
        meanwhile: Callable[[Attempt, "asyncio.Task[Completed | Failed]"], Awaitable[None]] | None = None,
        error: Exception | None = None,
    ) -> Completed | Failed | None:
        """The next attempt; None: it ended with its node. dies_at: as Attempt."""
        self.attempts += 1
        self.bench = Bench(
            step_wait_s=self.step_wait_s, timeout_s=self.timeout_s, max_storage_bytes=self.max_storage_bytes
        )
        holder = _Tasks()
        self.last = attempt = Attempt(self.kept, holder.group, dies_at)
        attempt.error = error
        self.bench.env = replace(self.bench.env, once=self.once)
        running = asyncio.ensure_future(
            self.bench.run(self.agent, attempt=self.attempts, steps=lambda: attempt, questions=self.questions)
        )
        dying = asyncio.ensure_future(attempt.died.wait())
        try:
            async with asyncio.timeout(PATIENCE_S):
                if meanwhile is not None:
                    await meanwhile(attempt, running)
                await asyncio.wait([running, dying], return_when=asyncio.FIRST_COMPLETED)
        finally:
            dying.cancel()
            if not running.done():
                running.cancel()
            await asyncio.wait([running, dying])
            await holder.end()
        return None if running.cancelled() else running.result()

    async def to_the_end(self) -> str:
        """The text of the next attempt, which completes."""
        outcome = await self.attempt()
        assert isinstance(outcome, Completed), outcome
        return outcome.text


class _Tasks:
    """As a TaskGroup of an incarnation that may end at any time."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.group: Any = self

    def create_task(self, coroutine: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        return task

    async def end(self) -> None:
        """As the group's own end: what a task raised would fail the incarnation."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        errors = [task.exception() for task in self._tasks if not task.cancelled()]
        assert errors == [None] * len(errors)


def states(kept: Kept) -> Counter[StepState]:
    """How many rows are of each."""
    return Counter(row.state for row in kept.rows)
