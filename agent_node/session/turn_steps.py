"""Where the steps of a session's turn are recorded: in the session's store, in the order of its writes.

Guarantees: nothing is written once the run is over, though it was asked for before; a write or read that fails is the
session's failure, as with every other one: its next owner goes on with the turn. Made by turn_loop.py, for one attempt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from agent_node.session.state import SessionState
from agent_node.store import StoredTurn
from agent_node.store.step_records import BlobChunk, RunOwnership, StoredStep


class TurnSteps:
    """A StepRecorder."""

    def __init__(self, session: SessionState, turn: StoredTurn) -> None:
        ownership = session.ownership
        self._session = session
        self._run = RunOwnership(ownership.ref, ownership.epoch, ownership.owner, turn.life_id, turn.turn_id)
        self._is_over = False

    @property
    def life_id(self) -> str:
        """As StepRecorder."""
        return self._run.life_id

    @property
    def tasks(self) -> asyncio.TaskGroup:
        """As StepRecorder."""
        return self._session.tasks

    async def read(self, after_ordinal: int) -> Sequence[StoredStep]:
        """As StepRecorder."""
        async with self._session.writer:
            return await self._session.store.steps.read(self._run.life, after_ordinal)

    async def read_chunk(self, digest: bytes, number: int) -> bytes | None:
        """As StepRecorder."""
        async with self._session.writer:
            return await self._session.store.steps.read_chunk(self._run.life, digest, number)

    async def keep(self, steps: Sequence[StoredStep]) -> None:
        """As StepRecorder."""
        commit = await self._written(lambda: self._session.store.steps.keep(self._run, steps))
        turn = self._session.turn(self._run.turn_id)
        for step in steps:
            self._session.audit("step_recorded", turn, commit, step=step.step_id.hex(), state=step.state.name)

    async def keep_chunk(self, chunk: BlobChunk) -> None:
        """As StepRecorder."""
        await self._written(lambda: self._session.store.steps.keep_chunk(self._run, chunk))

    def close(self) -> None:
        """As StepRecorder."""
        self._is_over = True

    async def _written(self, write: Callable[[], Awaitable[int]]) -> int:
        session = self._session
        commit = None
        async with session.writer:
            # Invariant: what waited for the writer is not written behind the end of its run
            # (tests/unit/agent_node/session/test_steps.py).
            if not self._is_over:
                turn = session.turn(self._run.turn_id)
                if not turn.may_have_steps:
                    session.turns.put(replace(turn, may_have_steps=True))
                commit = await write()
        if commit is None:
            raise RuntimeError("the turn is over")
        return commit
