"""What a store keeps of the steps of a run (`ctx.step`): rows that are only added, and what their writes compare.

A run is a turn of a session or a task's run; its attempts are its executions. A life is one run from its acceptance to
its end: session ids and task keys come back, a life_id does not. The rows of a life are numbered by ordinals in the
order of their commits; of a step that has several the last one counts.
"""

from dataclasses import dataclass
from enum import IntEnum

from agent_node.store.published import Published
from agent_node.store.storage_records import StorageScope
from agentring.ids import Epoch, SessionRef, TaskRef, TenantId

INLINE_BYTES = 4 << 10
"""What a row holds of a value itself; a larger one is a blob."""
CHUNK_BYTES = 1 << 20
"""A blob is written and read in pieces of this size, so that no transaction is large."""
PAGE_ROWS = 256
"""That one read returns at most: about 1 MiB."""


class StepState(IntEnum):
    """How far a step is. The numbers stand in databases."""

    STARTED = 1
    """Its function is about to be called, and must not be called a second time."""
    COMPLETED = 2
    FAILED = 3
    CANCELLED = 4
    """By the agent itself."""
    UNKNOWN = 5
    """It was cut off and must not run again: nobody knows whether it took effect."""
    NOTED = 6
    """A value that the agent was handed without a step, the time say; it was committed with the next step."""
    ENDING = 7
    """No step: how the run is to end (agent_node/step/decided_end.py). Its ordinal is 0."""


@dataclass(frozen=True, slots=True)
class RunOwnership:
    """A run in the hands of one incarnation of a node: every write of its steps is compared with it."""

    ref: SessionRef | TaskRef
    epoch: Epoch
    owner: str
    """As Ownership.owner."""
    life_id: str
    turn_id: str = ""
    """Empty in tasks."""
    storage: StorageScope | None = None
    """Where it stores by key; None: nowhere."""

    @property
    def life(self) -> "Life":
        """Whose rows they are."""
        return Life(self.ref.tenant, self.life_id)


@dataclass(frozen=True, slots=True)
class Life:
    """Names the rows of one run."""

    tenant: TenantId
    life_id: str


@dataclass(frozen=True, slots=True)
class StoredStep:
    """One row."""

    ordinal: int
    """Its place among the rows of its life, from 1, without a gap; 0: it is no step."""
    step_id: bytes
    """Of 16 bytes: what the step is (agent_node/step/identity.py)."""
    outer_ids: bytes
    """The step_ids of the steps inside which it ran, the outermost first; empty: it ran inside none."""
    name: str
    attempt: int
    """In which it was committed."""
    state: StepState
    pure: bool = False
    """The author says that it has no effect."""
    value: bytes = b""
    """The outcome as agent_node/step/outcome.py writes it; empty where it is a blob, or there is none."""
    blob: bytes = b""
    """The SHA-256 of a value that is kept as a blob; empty: it is not."""
    size_bytes: int = 0
    """Of the value, wherever it is."""
    published: Published | None = None
    """Of the commit, in its last row; None: it is not known."""


@dataclass(frozen=True, slots=True)
class BlobChunk:
    """A piece of a large value. A blob's name is its content's, so one that is written again is the same."""

    digest: bytes
    number: int
    """From 0."""
    data: bytes
