"""What the steps of runs do, for the test: in which order they begin, in which attempt their functions were called, and
how each ended; and where a node may die in between.

Stands between a run's steps and their recorder, so that it sees what is stored, and nothing else.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_node.step.identity import ID_BYTES
from agent_node.step.journal import QUESTION
from agent_node.step.packing import unpacked
from agent_node.step.position import innermost
from agent_node.step.recorder import StepRecorder
from agent_node.store.step_records import BlobChunk, StepState, StoredStep
from agent_node.store.storage_records import StorageEntry, StorageValue, StorageWrite
from agentring.testing.life import Life


@dataclass
class SeenStep:
    """One step of a run."""

    number: int
    """From 1, in the order in which they began."""
    name: str
    depth: int
    """How many steps it is inside of."""
    called_in: list[int] = field(default_factory=list)
    """The attempts in which its function was called."""
    row: StoredStep | None = None
    """Its outcome; None: it has none."""


class StepLog:
    """Of one run."""

    def __init__(self) -> None:
        self.steps: dict[bytes, SeenStep] = {}
        """By id, in the order in which they began."""
        self._chunks: dict[tuple[bytes, int], bytes] = {}

    def seen(self, row: StoredStep) -> SeenStep:
        """The step of a row."""
        if (step := self.steps.get(row.step_id)) is None:
            depth = len(row.outer_ids) // ID_BYTES
            step = self.steps[row.step_id] = SeenStep(len(self.steps) + 1, row.name, depth)
        return step

    def add_chunk(self, chunk: BlobChunk) -> None:
        """A piece of a large value."""
        self._chunks[chunk.digest, chunk.number] = chunk.data

    def value_of(self, row: StoredStep) -> Any:
        """What it returned, or its error's type and text."""
        raw = row.value
        if row.blob:
            pieces = sorted((number, data) for (digest, number), data in self._chunks.items() if digest == row.blob)
            raw = b"".join(unpacked(data) for _, data in pieces)
        return json.loads(raw) if raw and row.state in (StepState.COMPLETED, StepState.FAILED) else None

    def current(self) -> SeenStep | None:
        """The innermost step that the current code is in."""
        position = innermost()
        return self.steps.get(position.outer_ids[-ID_BYTES:]) if position is not None else None


class WatchedSteps:
    """A StepRecorder in front of another."""

    def __init__(self, recorder: StepRecorder, log: StepLog, life: Life) -> None:
        self._recorder = recorder
        self._log = log
        self._life = life
        life.where_in_step = self._where

    @property
    def life_id(self) -> str:
        """As StepRecorder."""
        return self._recorder.life_id

    @property
    def tasks(self) -> asyncio.TaskGroup:
        """As StepRecorder."""
        return self._recorder.tasks

    def check(self) -> None:
        """As StepRecorder."""
        self._recorder.check()

    async def read(self, after_ordinal: int) -> Sequence[StoredStep]:
        """As StepRecorder."""
        return await self._recorder.read(after_ordinal)

    async def read_chunk(self, digest: bytes, number: int) -> bytes | None:
        """As StepRecorder."""
        return await self._recorder.read_chunk(digest, number)

    async def read_value(self, key: bytes) -> StorageValue | None:
        """As StepRecorder."""
        return await self._recorder.read_value(key)

    async def read_keys(self, after: bytes) -> Sequence[StorageEntry]:
        """As StepRecorder."""
        return await self._recorder.read_keys(after)

    def mark(self) -> int:
        """As StepRecorder."""
        return self._recorder.mark()

    async def begun(self, step: StoredStep) -> None:
        """As StepRecorder."""
        await self._recorder.begun(step)
        if step.name == QUESTION:
            return
        seen = self._log.seen(step)
        await self._life.pass_point("begin", lambda: f"before {_named(seen)} was called", seen.number)
        seen.called_in.append(step.attempt)

    async def keep(self, steps: Sequence[StoredStep], storage: Sequence[StorageWrite] = ()) -> None:
        """As StepRecorder."""
        outcomes = [
            step for step in steps if step.state not in (StepState.STARTED, StepState.NOTED) and step.name != QUESTION
        ]
        for step in outcomes:
            seen = self._log.seen(step)
            about = f"after {_named(seen)} was called, before its outcome was recorded"
            await self._life.pass_point("called", lambda about=about: about, seen.number)  # type: ignore[misc]
        await self._recorder.keep(steps, storage)
        for step in outcomes:
            seen = self._log.seen(step)
            seen.row = step
            about = f"when the outcome of {_named(seen)} was recorded, before the agent had it"
            await self._life.pass_point("recorded", lambda about=about: about, seen.number)  # type: ignore[misc]

    async def keep_chunk(self, chunk: BlobChunk) -> None:
        """As StepRecorder."""
        self._log.add_chunk(chunk)
        await self._recorder.keep_chunk(chunk)

    def close(self) -> None:
        """As StepRecorder."""
        self._recorder.close()

    def _where(self) -> str:
        step = self._log.current()
        return f", in {_named(step)}" if step is not None else ""


def _named(step: SeenStep) -> str:
    return f"step {step.number} ({step.name})"
