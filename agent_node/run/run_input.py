"""What one run of an agent gets from the session or the task that it is a run of."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent_node.run.call_terms import NO_TERMS, CallTerms
from agent_node.run.time_limit import PausableDeadline
from agent_node.step.recorder import StepRecorder
from agent_node.store import ToolStart
from agent_node.store.published import Published
from agentring.agent import JsonObject, PastTurn
from agentring.ids import SessionRef, TaskRef
from agentring.v1 import session_pb2


class Questions(Protocol):
    """How one run asks the user. While it waits for an answer it holds none of the node's run slots."""

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, publish: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        """Waits for the answer to question `ordinal` of the run. publish: publishes the question under its input_id;
        time: the run's, paused meanwhile."""


class RunPlace(Protocol):
    """A run's slot on its node (slots.py)."""

    async def acquire(self) -> None:
        """Waits for one. Cancellation: none is held."""

    def release(self) -> None:
        """Lets another run have it, if this one holds it."""


class SessionRecords(Protocol):
    """The files and the past events of the session that a run belongs to."""

    async def read_file(self, digest: bytes) -> bytes:
        """A file. Raises FileNotFound, and what the store raises."""

    async def put_file(self, data: bytes) -> bytes:
        """Keeps a file that the run puts out, and returns its digest. Raises InvalidFile, FilesFull, and what the store
        raises."""

    async def past_events(self, before_seq: int | None, span: int) -> tuple[bool, list[bytes]]:
        """About `span` numbers of events before a seq, and what follows until the turns among them have ended: each a
        session_pb2.Event, in their order; and whether earlier ones are kept. before_seq: None: the newest. Raises what
        the store raises."""


class RunEvents(Protocol):
    """Where one run's events go: an EventLog, or the way to it of a run in a process of its own."""

    @property
    def collects_text(self) -> bool:
        """Whether text may wait for more until the event loop goes on."""

    def append(self, event: session_pb2.Event) -> int | None:
        """As EventLog."""

    def append_text(self, turn_id: str, attempt: int, offset: int, *texts: str) -> int:
        """As EventLog."""


@dataclass
class TurnInput:
    """A turn's input, or a task's."""

    ref: SessionRef | TaskRef
    turn_id: str
    """Empty in tasks."""
    attempt: int
    text: str
    data: JsonObject
    state_json: str
    history: Sequence[PastTurn]
    turn_number: int
    tool_starts: Callable[[ToolStart], Awaitable[None]] | None = None
    """Stores a tool's start before the call; None: nothing does."""
    questions: Questions | None = None
    """Asks the session's user; None: there is nobody to ask, as in tasks."""
    agent: str = ""
    """The agent's name."""
    deaths: int = 0
    """How many earlier runs ended with their node."""
    published: tuple[Published, ...] = ()
    """What earlier attempts told that is still valid (still_valid)."""
    turn_seq: int = 0
    """As attempt_restarted.turn_seq."""
    restart: Callable[[session_pb2.Event], None] | None = None
    """Publishes a further attempt_restarted, where `published` is not empty."""
    steps: Callable[[], StepRecorder] | None = None
    """Makes what records the run's steps; None: nothing does."""
    decide_end: Callable[[str], Awaitable[None]] | None = None
    """Stores why the run is about to be ended, where it may have recorded steps; None: nothing does. Raises what the
    store raises."""
    parts: bytes = b""
    """A session_pb2.Input of which all is a part; empty: the text is all."""
    records: Callable[[], SessionRecords] | None = None
    """Makes the way to the session's files and past events; None: there are none, as in tasks."""
    trace: str = ""
    """Of the call that caused it, for the log; empty: it is not known."""
    slot: RunPlace | None = None
    """That the run holds; None: nobody counts it, or it is the node's that runs it in a process of its own."""
    terms: CallTerms = NO_TERMS
    """Of the call that brought it, as far as the node's settings let agents see it."""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt, different for any other turn or task."""
        ref = self.ref
        if isinstance(ref, SessionRef):
            return f"{ref.tenant}/session/{ref.session_id}/{self.turn_id}"
        return f"{ref.tenant}/task/{ref.task_key}"
