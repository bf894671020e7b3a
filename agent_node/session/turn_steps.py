"""Where the steps of a session's turn are recorded: in the session's store, in the order of its writes.

Guarantees: nothing is written once the run is over, though it was asked for before; a write or read that fails is the
session's failure, as with every other one: its next owner goes on with the turn. Made by turn_loop.py, for one attempt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from agent_node.run.restarts import ValidNumbers
from agent_node.run.steps_under_way import StepsUnderWay
from agent_node.session.state import SessionState
from agent_node.step.decided_end import decided, decided_reason
from agent_node.store import EventRow, Publication, StoredTurn
from agent_node.store.step_records import BlobChunk, RunOwnership, StoredStep
from agent_node.store.storage_records import StorageEntry, StorageScope, StorageValue, StorageWrite, session_scope
from agentring.errors import NodeDraining


async def decide_end(session: SessionState, turn_id: str, reason: str) -> None:
    """Stores that a turn is to end, before its agent is asked to: its clean-up may record steps. Does nothing where
    none may be recorded, or the turn has ended. Raises what the store raises."""
    if not session.store.durable or not session.turn(turn_id).may_have_steps:
        return
    async with session.writer:
        if session.turns.is_open(turn_id):
            turn = session.turn(turn_id)
            await session.store.steps.keep(run_of(session, turn), [decided(reason, turn.attempt)])


async def decided_end(session: SessionState, turn: StoredTurn) -> str:
    """Why an earlier owner was about to end the turn; empty: it was not. Raises what the store raises."""
    if turn.attempt == 1 or not session.store.durable:
        return ""
    async with session.writer:
        return await decided_reason(session.store.steps, run_of(session, turn).life)


def run_of(session: SessionState, turn: StoredTurn) -> RunOwnership:
    """What the store compares with the writes of the turn's steps."""
    ownership = session.ownership
    storage = session_scope(ownership.ref, session.stored.created_ns)
    return RunOwnership(ownership.ref, ownership.epoch, ownership.owner, turn.life_id, turn.turn_id, storage)


class TurnSteps:
    """A StepRecorder."""

    def __init__(self, session: SessionState, turn: StoredTurn, valid: ValidNumbers) -> None:
        """valid: what the turn has told."""
        self._valid = valid
        self._session = session
        self._run = run_of(session, turn)
        self._is_over = False
        self._open = StepsUnderWay()
        if session.running is not None:
            session.running.open_steps = self._open

    @property
    def life_id(self) -> str:
        """As StepRecorder."""
        return self._run.life_id

    @property
    def tasks(self) -> asyncio.TaskGroup:
        """As StepRecorder."""
        return self._session.tasks

    def check(self) -> None:
        """As StepRecorder."""
        self._session.writer.check()
        running = self._session.running
        if running is not None and running.cancel_reason is None:
            raise NodeDraining

    async def read(self, after_ordinal: int) -> Sequence[StoredStep]:
        """As StepRecorder."""
        async with self._session.writer:
            return await self._session.store.steps.read(self._run.life, after_ordinal)

    async def read_chunk(self, digest: bytes, number: int) -> bytes | None:
        """As StepRecorder."""
        async with self._session.writer:
            return await self._session.store.steps.read_chunk(self._run.life, digest, number)

    async def read_value(self, key: bytes) -> StorageValue | None:
        """As StepRecorder."""
        async with self._session.writer:
            return await self._session.store.storage.read(self._scope, key)

    async def read_keys(self, after: bytes) -> Sequence[StorageEntry]:
        """As StepRecorder."""
        async with self._session.writer:
            return await self._session.store.storage.keys(self._scope, after)

    def mark(self) -> int:
        """As StepRecorder."""
        return self._session.log.cut() if self._session.store.durable else 0

    async def begun(self, step: StoredStep) -> None:
        """As StepRecorder."""
        run = self._run
        self._session.env.audit.write(
            "step_begun", run.ref, epoch=run.epoch, turn=run.turn_id, attempt=step.attempt, step=step.step_id.hex()
        )
        self._open.begun(step)

    async def keep(self, steps: Sequence[StoredStep], storage: Sequence[StorageWrite] = ()) -> None:
        """As StepRecorder."""
        await self._written(lambda: self._keep(steps, storage))

    async def keep_chunk(self, chunk: BlobChunk) -> None:
        """As StepRecorder."""
        await self._written(lambda: self._session.store.steps.keep_chunk(self._run, chunk))

    def close(self) -> None:
        """As StepRecorder."""
        self._is_over = True

    @property
    def _scope(self) -> StorageScope:
        assert self._run.storage is not None
        return self._run.storage

    async def _keep(self, steps: Sequence[StoredStep], storage: Sequence[StorageWrite]) -> None:
        """The audit log says what the store has, also where the lease has ended meanwhile."""
        session, published = self._session, steps[-1].published if steps else None
        if published is not None:
            published = self._valid.counted(published)
            steps = [*steps[:-1], replace(steps[-1], published=published)]
        publication: Publication | None = None
        rows: list[EventRow] = []
        if published is not None and published.seq and session.store.durable:
            # Invariant: what a commit says is still valid is stored with it, or was before
            # (tests/unit/agent_node/session/test_published_once.py).
            rows = session.events.rows_through(session.log, published.seq)
            publication = Publication(
                published.seq if rows else None, rows, list(session.renumbered.values()) if rows else ()
            )
        commit = await session.store.steps.keep(self._run, steps, storage, publication)
        if rows:
            session.renumbered.clear()
            session.events.written(rows)
            session.events.trim_soon(rows)
        turn = session.turn(self._run.turn_id)
        if storage:
            self._session.audit("storage_written", turn, commit, keys=len(storage))
        self._open.recorded(steps)
        for step in steps:
            self._session.audit("step_recorded", turn, commit, step=step.step_id.hex(), state=step.state.name)

    async def _written(self, write: Callable[[], Awaitable[object]]) -> None:
        session = self._session
        is_over = False
        async with session.writer:
            # Invariant: what waited for the writer is not written behind the end of its run
            # (tests/unit/agent_node/session/test_steps.py).
            if not (is_over := self._is_over):
                turn = session.turn(self._run.turn_id)
                if not turn.may_have_steps:
                    session.turns.put(replace(turn, may_have_steps=True))
                await write()
        if is_over:
            raise RuntimeError("the turn is over")
