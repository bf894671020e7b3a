"""The steps of one attempt of a run: what `ctx.step` does.

Guarantees: a step that has an outcome in the store never runs again in its run, and the agent gets that outcome; the
agent gets what is decoded from what was committed, in the first attempt, too; a step that must not run twice
(`idempotent=False`) has a row before its function is called, and one that was cut off after that is UNKNOWN for good;
an attempt that goes another way than those before it fails the run (STEP_DIVERGED) before it acts. A cancellation by
the agent itself is an outcome, the run's own end is none. Nothing is read, written or begun before the first step.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn

from agent_node.step import identity
from agent_node.step.commits import Commits
from agent_node.step.errors import StepCorrupt, StepDiverged, StepsFailed
from agent_node.step.function import StepCall, StepOptions, outcome_of
from agent_node.step.journal import Journal, Recorded
from agent_node.step.outcome import (
    CANCELLED,
    CANCELLED_UNKNOWN,
    UNKNOWN,
    StepOutcome,
    failed_with,
    result_of,
    was_cancelled,
)
from agent_node.step.position import Position, being, position_in
from agent_node.step.recorder import StepRecorder
from agent_node.step.typed import as_type
from agent_node.store.step_records import PAGE_ROWS, StepState, StoredStep

MOST_STEPS = 10_000
MOST_BYTES = 64 << 20
MOST_DEPTH = 8


@dataclass(frozen=True, slots=True)
class StepRun:
    """What the steps need of their run."""

    attempt: int
    fencing_token: int
    idempotency_key: str
    check: Callable[[], None]
    """Raises NodeFenced, and RuntimeError where the run is over."""
    is_stopping: Callable[[], bool]
    """Whether the run was asked to end."""
    stop: Callable[[StepsFailed], None]
    """Ends the run with an error."""
    wait_s: float
    """As Journal."""


class Steps:
    """Of one attempt."""

    def __init__(self, recorder: StepRecorder, run: StepRun) -> None:
        self._recorder = recorder
        self._run = run
        self._journal = Journal(run.wait_s)
        self._commits = Commits(recorder)
        self._counts: Counter[bytes] = Counter()
        self._open: dict[bytes, asyncio.Task[Any] | None] = {}
        """The tasks that have a step open, by what equal steps have in common."""
        self._loading: asyncio.Future[None] | None = None
        self._is_loaded = run.attempt == 1
        self._failure: StepsFailed | None = None

    @property
    def are_open(self) -> bool:
        """Whether one is under way."""
        return bool(self._open)

    async def step(self, name: str, call: StepCall, options: StepOptions) -> Any:
        """As Context.step."""
        await self._ready()
        position = position_in(self)
        base = identity.base_of(position.parent_id, name, call.args, call.kwargs, options.key)
        if base in self._open:
            raise TypeError(f"an equal step {name} is under way, so their order is not repeatable: give each a key=")
        if position.depth == MOST_DEPTH:
            raise RuntimeError(f"steps are at most {MOST_DEPTH} deep")
        step_id = self._next_id(base)
        self._open[base] = asyncio.current_task()
        row = StoredStep(0, step_id, position.outer_ids, name, self._run.attempt, StepState.STARTED, options.pure)
        try:
            if (recorded := self._journal.ask(step_id)) is not None:
                result = await self._again(recorded)
            elif self._journal.was_started(step_id):
                result = await self._end(row, UNKNOWN)
            else:
                result = await self._begin(row, position, call, options)
            return result if options.returns is None else as_type(options.returns, result)
        finally:
            del self._open[base]

    def scope(self, name: str) -> AbstractContextManager[None]:
        """As Context.scope."""
        return being(position_in(self).in_scope(name))

    async def now(self) -> datetime:
        """As Context.now."""
        await self._ready()
        position = position_in(self)
        step_id = self._next_id(identity.digest(b"now", position.parent_id))
        if (note := self._journal.note(step_id)) is None:
            value = str(time.time_ns()).encode()
            size = len(value)
            attempt = self._run.attempt
            note = StoredStep(0, step_id, position.outer_ids, "now", attempt, StepState.NOTED, True, value, b"", size)
            self._count_new()
            self._commits.add(note, at_once=False)
        return datetime.fromtimestamp(int(note.value) / 1e9, UTC)

    def uuid(self) -> uuid.UUID:
        """As Context.uuid."""
        return uuid.UUID(bytes=self._derived("uuid"), version=4)

    def random(self) -> float:
        """As Context.random."""
        return (int.from_bytes(self._derived("random")[:7], "big") >> 3) / (1 << 53)

    async def finish(self) -> None:
        """The agent has come to its end. Raises StepDiverged where a recorded step was not asked for, and as `step`."""
        await self._ready()
        if difference := self._journal.difference():
            raise StepDiverged(difference)

    def end(self) -> None:
        """The run is over: what its agent left behind is cut off, and writes nothing any more."""
        self._recorder.close()
        for task in self._open.values():
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    async def _begin(self, row: StoredStep, position: Position, call: StepCall, options: StepOptions) -> Any:
        """A step that has no outcome."""
        task = asyncio.current_task()
        cancels = task.cancelling() if task is not None else 0
        is_called = False
        self._count_new()
        try:
            if not options.pure and not await self._journal.may_begin(row.step_id):
                self._diverge(f"the step {row.name} begins, but {self._journal.difference()}")
            self._check()
            if not options.idempotent:
                await self._commits.add(row)
                self._check()
            await self._recorder.begun(row)
            is_called = True
            key = f"{self._run.idempotency_key}/step/{row.step_id.hex()}"
            call = call.handed(idempotency_key=key, fencing_token=self._run.fencing_token)
            with being(position.inside(row.step_id)):
                outcome = await outcome_of(call, options, MOST_BYTES - self._journal.size_bytes, self._check)
        except asyncio.CancelledError:
            if self._run.is_stopping():
                raise
            if task is None or task.cancelling() <= cancels:
                outcome = failed_with("CancelledError", "")  # what it waited for was cancelled, not the step
            else:
                self._note_cancel(row, is_called=is_called, idempotent=options.idempotent)
                raise
        return await self._end(row, outcome, idempotent=options.idempotent)

    async def _end(self, row: StoredStep, outcome: StepOutcome, *, idempotent: bool = True) -> Any:
        """Commits an outcome, and hands over what was committed."""
        self._journal.size_bytes += len(outcome.value)
        try:
            await self._commits.add(_ended(row, outcome))
            self._check()
        except asyncio.CancelledError:
            if not self._run.is_stopping():
                self._note_cancel(row, is_called=True, idempotent=idempotent)  # the agent never got the outcome
            raise
        self._journal.ended(row.step_id)
        return result_of(row.name, outcome)

    async def _again(self, recorded: Recorded) -> Any:
        """A step that an earlier attempt has an outcome of."""
        row = recorded.row
        try:
            if was_cancelled(row):
                await asyncio.get_running_loop().create_future()  # until its agent cancels it as it did
            if not await self._journal.in_turn(recorded):
                self._diverge(f"the step {row.name} does not come in its turn")
            try:
                value = await self._commits.value_of(row)
            except StepCorrupt as error:
                self._fail(error)
            await asyncio.sleep(0)  # thousands may follow each other: the event loop breathes here
            self._check()
        finally:
            self._journal.handed_over(row.step_id)
        return result_of(row.name, StepOutcome(row.state, value))

    def _note_cancel(self, row: StoredStep, *, is_called: bool, idempotent: bool) -> None:
        """The agent gets its cancellation at once; that it did is committed before anything that it does then."""
        outcome = CANCELLED_UNKNOWN if is_called and not idempotent else CANCELLED
        self._commits.add(_ended(row, outcome))
        self._journal.ended(row.step_id)

    def _next_id(self, base: bytes) -> bytes:
        self._counts[base] += 1
        return identity.step_id(self._recorder.life_id, base, self._counts[base])

    def _count_new(self) -> None:
        if self._journal.count >= MOST_STEPS:
            raise RuntimeError(f"a run has at most {MOST_STEPS} steps")
        self._journal.count += 1

    def _derived(self, kind: str) -> bytes:
        self._run.check()
        parent_id = position_in(self).parent_id
        base = identity.digest(kind.encode(), parent_id)
        self._counts[base] += 1
        return identity.derived(self._recorder.life_id, parent_id, kind, self._counts[base])

    def _check(self) -> None:
        """Raises what ends the run by itself."""
        if self._failure is not None:
            raise self._failure
        self._run.check()
        self._recorder.check()
        self._commits.check()

    def _diverge(self, detail: str) -> NoReturn:
        self._fail(StepDiverged(detail))

    def _fail(self, error: StepsFailed) -> NoReturn:
        self._failure = self._failure or error
        self._run.stop(self._failure)
        raise self._failure

    async def _ready(self) -> None:
        self._check()
        if self._is_loaded:
            return
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_future()
            self._recorder.tasks.create_task(self._load(self._loading))
        await asyncio.shield(self._loading)
        self._check()

    async def _load(self, loaded: "asyncio.Future[None]") -> None:
        rows: list[StoredStep] = []
        try:
            is_last = False
            while not is_last:
                page = await self._recorder.read(rows[-1].ordinal if rows else 0)
                rows += page
                is_last = len(page) < PAGE_ROWS
            self._journal.load(rows)
            self._commits.last_ordinal = self._journal.last_ordinal
            self._is_loaded = True
            loaded.set_result(None)
        except Exception as error:
            loaded.set_exception(error)
            loaded.exception()  # nobody may be waiting for it any more
        finally:
            if not loaded.done():
                loaded.cancel()


def _ended(row: StoredStep, outcome: StepOutcome) -> StoredStep:
    return replace(row, state=outcome.state, value=outcome.value, size_bytes=len(outcome.value))
