"""What the steps of one attempt need of their run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent_node.step.clock import SYSTEM_CLOCK, RunClock
from agent_node.step.errors import StepsFailed
from agent_node.store.published import Published
from agent_node.store.step_records import StepState, StoredStep


class Publication(Protocol):
    """How far the run has told what it says."""

    def begin_stream(self) -> None:
        """What is told from here on may be told otherwise by a later attempt."""

    def end_stream(self) -> None:
        """What was told of a stream is about to be committed, or is over."""

    def now(self) -> Published:
        """What a commit is to keep. Raises what the event log raises."""

    def step_begun(self, row: StoredStep, replayed: int) -> None:
        """A step's function is about to be called. replayed: how many steps were answered from their records."""

    def step_ended(self, row: StoredStep, state: StepState) -> None:
        """Its outcome is about to be committed."""

    def end(self) -> None:
        """The run is over, and its steps that are under way with it."""


class Gate(Protocol):
    """What holds a run's next step while the run is halted."""

    @property
    def is_shut(self) -> bool:
        """Whether nothing may begin now."""

    async def pass_by(self) -> None:
        """Returns once something may. Raises Halted where the run was asked to end."""


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
    publication: Publication
    gate: Gate
    clock: RunClock = SYSTEM_CLOCK
    most_storage_bytes: int = 64 << 20
    """That may be stored by key."""
