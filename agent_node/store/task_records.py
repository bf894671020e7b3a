"""What a store keeps of tasks, as records."""

from dataclasses import dataclass

from agent_node.store.clock import Moment
from agent_node.store.readable import to_event
from agentring.ids import Epoch, NodeId, TaskKey, TaskRef
from agentring.v1 import session_pb2, task_pb2

TASK_ENDED = (task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_CANCELLED)


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task that somebody asks for."""

    ref: TaskRef
    agent: str
    fingerprint: bytes
    """Of agent and input, to tell the same task asked for again from another under its key; of 32 bytes."""
    input: bytes
    """A session_pb2.Input."""
    retention_s: float
    cancel_when_unwatched: bool
    request_id: str
    """Names this request alone, so that one which is tried again knows its own row."""


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """How a run ended."""

    state: task_pb2.TaskState.ValueType
    """One of TASK_ENDED."""
    outcome: bytes
    """The last event, a session_pb2.Event, with its seq."""
    events: bytes
    """The events before it, as a task_pb2.RunTaskResponse."""
    text: str | None
    """The whole text, where the events have lost some of it; None: they have not."""
    may_begin_anew: bool = False
    """It ended because nobody watched it: the next request for the task starts it anew."""
    life_id: str = ""
    """As StoredTask.life_id, where the run's steps may be stored, which then go with its end. Empty: there are none."""


@dataclass(frozen=True, slots=True)
class StoredTask:
    """One task, as it was read."""

    ref: TaskRef
    agent: str
    fingerprint: bytes
    input: bytes
    """Empty once it has ended."""
    retention_s: float
    cancel_when_unwatched: bool
    request_id: str
    """Of the request that made it."""
    state: task_pb2.TaskState.ValueType
    epoch: Epoch
    """Of its last run; 0: there was none."""
    owner: str
    """The incarnation of its last run, as `node_id/incarnation`; empty: there was none."""
    attempt: int
    """Which run it is in, or was in last; 0: none has begun."""
    created_ns: int
    ended_ns: int | None = None
    """Wall clock, for people, as created_ns; None: it has not ended."""
    expires_ns: int | None = None
    """When its retention is over, by the store's clock; None: it has not ended."""
    may_begin_anew: bool = False
    outcome: bytes = b""
    events: bytes = b""
    text: str | None = None
    deaths: int = 0
    """How many of its runs ended with their node."""
    commit: int = 1
    """The number of the row's last transaction; it grows with each."""

    @property
    def life_id(self) -> str:
        """Names the task from its acceptance to its end, as RunOwnership.life_id: a request makes one life."""
        return self.request_id

    @property
    def has_ended(self) -> bool:
        """Whether its last run is over, and its outcome stands."""
        return self.ended_ns is not None

    def has_expired(self, now: Moment) -> bool:
        """Whether its retention is over."""
        return self.expires_ns is not None and now.is_past(self.expires_ns)

    @property
    def node_id(self) -> NodeId:
        """The node of its last run; empty: there was none."""
        return NodeId(self.owner.rpartition("/")[0])

    def outcome_event(self) -> session_pb2.Event:
        """The last event."""
        return to_event(self.outcome)


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which of a tenant's tasks are listed."""

    prefix: str = ""
    agent: str = ""
    state: task_pb2.TaskState.ValueType = task_pb2.TASK_STATE_UNSPECIFIED
    """UNSPECIFIED: in any."""


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that has not ended, for the sweep: what tells whether anything has happened to it since."""

    ref: TaskRef
    agent: str
    commit: int


@dataclass(frozen=True, slots=True)
class ListedTask:
    """A task without its input, its words and its result, which may be large."""

    key: TaskKey
    agent: str
    state: task_pb2.TaskState.ValueType
    epoch: Epoch
    owner: str
    attempt: int
    created_ns: int
    ended_ns: int | None
