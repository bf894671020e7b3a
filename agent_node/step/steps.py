"""The steps of one attempt of a run: what `ctx.step` does.

Guarantees: a step that has an outcome in the store never runs again in its run, and the agent gets that outcome; the
agent gets what is decoded from what was committed, in the first attempt, too; a step that must not run twice
(`idempotent=False`) has a row before its function is called, and one that was cut off after that is UNKNOWN for good;
an attempt that goes another way than those before it fails the run (STEP_DIVERGED) before it acts. A cancellation by
the agent itself is an outcome, the run's own end is none. Nothing is read, written or begun before the first step.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NoReturn

from agent_node.step import identity, starting
from agent_node.step.commits import Commits
from agent_node.step.earlier import EarlierRows
from agent_node.step.errors import StepCorrupt, StepDiverged
from agent_node.step.function import StepCall, StepOptions, outcome_of
from agent_node.step.journal import Journal, Recorded
from agent_node.step.open_steps import OpenStep, OpenSteps
from agent_node.step.outcome import (
    CANCELLED,
    CANCELLED_UNKNOWN,
    UNKNOWN,
    StepOutcome,
    ended,
    failed_with,
    result_of,
    was_cancelled,
)
from agent_node.step.position import being, position_in
from agent_node.step.recorder import StepRecorder
from agent_node.step.run_end import RunEnd
from agent_node.step.step_run import StepRun
from agent_node.step.storage import RunStorage
from agent_node.step.storage_keys import Changes
from agent_node.step.typed import as_type
from agent_node.store.step_records import StepState, StoredStep

MOST_STEPS, MOST_BYTES, MOST_DEPTH = 10_000, 64 << 20, 8


class Steps:
    """Of one attempt."""

    def __init__(self, recorder: StepRecorder, run: StepRun) -> None:
        self._recorder, self._run = recorder, run
        self.tasks, self.publication = recorder.tasks, run.publication
        self.clock, self.journal = run.clock, Journal(run.wait_s)
        self._commits = Commits(recorder, self.publication.now)
        # What this holds must not hold it: a run would leave a cycle for the garbage collector.
        self._end = end = RunEnd(run, recorder, self._commits)
        self._earlier = EarlierRows(recorder, self.journal, self._commits, end, are_known=run.attempt == 1)
        self.storage = RunStorage(recorder, self._commits, self._earlier.ready, end.check, end.fail, run)
        """Its bytes by key."""
        self._counts: Counter[bytes] = Counter()
        self._open = OpenSteps()
        self._streams: dict[bytes, StoredStep] = {}
        """Those of streams that are being read and have no row yet, by their ids."""

    @property
    def are_open(self) -> bool:
        """Whether one is under way during which no question may be asked."""
        return self._open.forbid_questions

    async def step(self, name: str, call: StepCall, options: StepOptions) -> Any:
        """As Context.step."""
        await self.ready()
        opened = self.open("step", name, call, options)
        try:
            result = result_of(name, await self.carry_out(opened, call, options))
            return result if options.returns is None else as_type(options.returns, result)
        finally:
            self.close(opened)

    async def carry_out(self, opened: OpenStep, call: StepCall, options: StepOptions) -> StepOutcome:
        """The outcome of a step that was opened: the recorded one, or that of the call."""
        if (recorded := self.journal.ask(opened.row.step_id)) is not None:
            return await self._again(recorded)
        if self.journal.was_started(opened.row.step_id):
            return await self.commit(opened, UNKNOWN)
        return await self._begin(opened, call, options)

    def open(
        self, kind: str, name: str, call: StepCall, options: StepOptions, *, alone: bool = True, waits: bool = False
    ) -> OpenStep:
        """Which step it is, where `ready` has returned. kind: one of another kind is another step; alone: no equal one
        may be open; waits: a question may be asked meanwhile. Raises TypeError, ValueError, RuntimeError."""
        position = position_in(self)
        base = identity.base_of(position.parent_id, name, call.args, call.kwargs, options.key, kind=kind)
        if alone and self._open.has_equal(base):
            raise TypeError(f"an equal step {name} is under way, so their order is not repeatable: give each a key=")
        if position.depth == MOST_DEPTH:
            raise RuntimeError(f"steps are at most {MOST_DEPTH} deep")
        outer_ids, attempt = position.outer_ids, self._run.attempt
        pure = options.pure or position.resumes
        row = StoredStep(0, self._next_id(base), outer_ids, name, attempt, StepState.STARTED, pure)
        storage = Changes(self.storage.keys, row.step_id, outer_ids)
        return self._open.add(OpenStep(base, row, position, storage, waits, kind, asyncio.current_task()))

    def close(self, opened: OpenStep) -> None:
        """It is over."""
        self.storage.keys.end(opened.storage)
        self._streams.pop(opened.row.step_id, None)
        self._open.remove(opened)

    def scope(self, name: str, *, resumes: bool = False) -> AbstractContextManager[None]:
        """As Context.scope."""
        return being(position_in(self).in_scope(name, resumes=resumes))

    async def finish(self) -> None:
        """The agent has come to its end. Raises StepDiverged where a recorded step was not asked for, and as `step`."""
        await self.ready()
        if difference := self.journal.difference():
            raise StepDiverged(difference)

    def end(self) -> None:
        """The run is over: what its agent left behind is cut off, and writes nothing any more."""
        self.publication.end()
        self._recorder.close()
        self._open.cut_off()

    async def enter(self, opened: OpenStep, call: StepCall, options: StepOptions, *, streams: bool = False) -> StepCall:
        """A step that has no outcome begins; the call with what it is handed. streams: other steps may begin while it
        is read. Raises what ends the run."""
        row = opened.row
        self._count_new()
        if not row.pure and not await self.journal.may_begin(row.step_id):
            self.diverge(f"the step {row.name} begins, but {self.journal.difference()}")
        await starting.may_begin(self._run.gate, options)
        self.check()
        self._note_streams(row)
        if not options.idempotent:
            await self._commits.add(row)
            await starting.may_still_begin(self._run.gate, options)
            self.check()
        elif streams:
            self._streams[row.step_id] = row
        await self._recorder.begun(row)
        if opened.is_shown:
            self.publication.step_begun(row, self.journal.replayed)
        self.storage.keys.begin(opened.storage)
        if streams:
            self.publication.begin_stream()
        key = f"{self._run.idempotency_key}/step/{row.step_id.hex()}"
        return call.handed(idempotency_key=key, fencing_token=self._run.fencing_token)

    async def _begin(self, opened: OpenStep, call: StepCall, options: StepOptions) -> StepOutcome:
        """A step that has no outcome."""
        task = asyncio.current_task()
        cancels = task.cancelling() if task is not None else 0
        row = opened.row
        is_called = False
        try:
            call = await self.enter(opened, call, options)
            is_called = True
            with being(opened.position.inside(row.step_id)):
                left = MOST_BYTES - self.journal.size_bytes
                outcome = await outcome_of(call, options, left, self.check, self.clock, opened.storage, self.may_try)
        except asyncio.CancelledError:
            if self.is_stopping:
                raise
            if task is None or task.cancelling() <= cancels:
                outcome = failed_with("CancelledError", "")  # what it waited for was cancelled, not the step
            else:
                self.note_cancel(row, is_called=is_called, idempotent=options.idempotent)
                raise
        return await self.commit(opened, outcome, idempotent=options.idempotent)

    async def commit(self, opened: OpenStep, outcome: StepOutcome, *, idempotent: bool = True) -> StepOutcome:
        """Commits an outcome, with what the function has stored; then what was committed may be handed over."""
        row = opened.row
        self.journal.size_bytes += len(outcome.value)
        opened.storage.completes = outcome.state == StepState.COMPLETED
        self.storage.keys.end(opened.storage)
        try:
            settled = self.storage.settling(opened.storage)
            self.publication.step_ended(row, outcome.state)
            await self._commits.add(ended(row, outcome), opened.storage.writes(), settled=settled)
            self.check()
        except asyncio.CancelledError:
            if not self.is_stopping:
                self.note_cancel(row, is_called=True, idempotent=idempotent)  # the agent never got the outcome
            raise
        self.journal.ended(row.step_id)
        return outcome

    async def _again(self, recorded: Recorded) -> StepOutcome:
        """A step that an earlier attempt has an outcome of."""
        row = recorded.row
        try:
            if was_cancelled(row):
                await asyncio.get_running_loop().create_future()  # until its agent cancels it as it did
            return await self.in_turn(recorded)
        finally:
            self.journal.handed_over(row.step_id)

    async def in_turn(self, recorded: Recorded) -> StepOutcome:
        """The outcome that an earlier attempt has, once all before it were handed over."""
        if not await self.journal.in_turn(recorded):
            self.diverge(f"the step {recorded.row.name} does not come in its turn")
        outcome = await self.outcome(recorded.row)
        await asyncio.sleep(0)  # thousands may follow each other: the event loop breathes here
        self.check()
        return outcome

    async def outcome(self, row: StoredStep) -> StepOutcome:
        """Of a row, wherever its value is."""
        try:
            return StepOutcome(row.state, await self._commits.value_of(row))
        except StepCorrupt as error:
            self._end.fail(error)

    def note_end(self, row: StoredStep, outcome: StepOutcome) -> None:
        """The agent gets its outcome at once; that it did is committed before anything that it does then."""
        self.journal.size_bytes += len(outcome.value)
        self.publication.step_ended(row, outcome.state)
        self._commits.add(ended(row, outcome))
        self.journal.ended(row.step_id)

    def note_cancel(self, row: StoredStep, *, is_called: bool, idempotent: bool, value: bytes = b"") -> None:
        """As note_end, of its cancellation. value: of CANCELLED."""
        unknown = is_called and not idempotent
        self.note_end(row, CANCELLED_UNKNOWN if unknown else replace(CANCELLED, value=value))

    @property
    def is_stopping(self) -> bool:
        """Whether the run was asked to end."""
        return self._run.is_stopping()

    def _note_streams(self, row: StoredStep) -> None:
        """A step is about to begin while streams are read, in their loops perhaps: a later attempt, in which they have
        no outcome, must be able to begin them before it asks for this one."""
        if self._streams:
            for each in [each for each in self._streams if each not in row.outer_ids]:
                self._commits.add(replace(self._streams.pop(each), state=StepState.NOTED, pure=True), at_once=False)

    def _next_id(self, base: bytes) -> bytes:
        self._counts[base] += 1
        return identity.step_id(self._recorder.life_id, base, self._counts[base])

    def _count_new(self) -> None:
        if self.journal.count >= MOST_STEPS:
            raise RuntimeError(f"a run has at most {MOST_STEPS} steps")
        self.journal.count += 1

    def derived(self, kind: str) -> bytes:
        """As identity.derived, here and now. Raises what ends the run."""
        self._run.check()
        parent_id = position_in(self).parent_id
        base = identity.digest(kind.encode(), parent_id)
        self._counts[base] += 1
        return identity.derived(self._recorder.life_id, parent_id, kind, self._counts[base])

    async def store_published(self) -> None:
        """Commits how far the run has come with what it says. Raises as `ready`."""
        await self.noted(f"published {self._run.attempt}", bytes, at_once=True)

    async def noted(self, name: str, new: Callable[[], bytes], *, at_once: bool = False) -> bytes:
        """A value that later attempts are handed, too, committed with the next step or now. Raises as `ready`."""
        await self.ready()
        position = position_in(self)
        step_id = self._next_id(identity.digest(name.encode(), position.parent_id))
        if (note := self.journal.note(step_id)) is None:
            value, attempt = new(), self._run.attempt
            size = len(value)
            note = StoredStep(0, step_id, position.outer_ids, name, attempt, StepState.NOTED, True, value, b"", size)
            self._count_new()
            committed = self._commits.add(note, at_once=at_once)
            if at_once:
                await committed
        return note.value

    def check(self) -> None:
        """Raises what ends the run by itself."""
        self._end.check()

    async def may_try(self) -> None:
        """Returns once a function may be tried again. Raises what ends the run, and Halted."""
        await self._run.gate.pass_by()
        self.check()

    def diverge(self, detail: str) -> NoReturn:
        """Fails the run: this attempt goes another way than one before it. Raises StepDiverged."""
        self._end.fail(StepDiverged(detail))

    async def ready(self) -> None:
        """Returns when what earlier attempts recorded is known. Raises what ends the run, and what the store raises."""
        await self._earlier.ready()
