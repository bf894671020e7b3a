"""What the client asks for is not there, or the state of things forbids it."""

from dataclasses import dataclass
from typing import ClassVar

from grpc import StatusCode

from agentring.errors.base import AgentringError


class NotFound(AgentringError):
    """It does not exist, or belongs to somebody else."""

    code = StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class SessionNotFound(NotFound):
    """There is no such session."""

    reason = "SESSION_NOT_FOUND"
    sentence = "there is no such session"


class TurnNotFound(NotFound):
    """There is no such turn."""

    reason = "TURN_NOT_FOUND"
    sentence = "there is no such turn in this session"


class InputNotFound(NotFound):
    """No turn that has not ended has asked this."""

    reason = "INPUT_NOT_FOUND"
    sentence = "no turn waits for an answer of this input_id"


@dataclass(eq=False)
class FileNotFound(NotFound):
    """The session has no such file, or has it no more."""

    reason: ClassVar[str] = "FILE_NOT_FOUND"
    sentence: ClassVar[str] = "the session does not have this file: put it again (BlobService.PutBlob)"
    sha256: str


class TaskNotFound(NotFound):
    """There is no such task."""

    reason = "TASK_NOT_FOUND"
    sentence = "there is no such task"


class ServiceNotFound(NotFound):
    """A health check of a service that is not served here."""

    reason = "SERVICE_NOT_FOUND"
    sentence = "there is no such service"


class NodeNotFound(NotFound):
    """There is no such node."""

    reason = "NODE_NOT_FOUND"
    sentence = "no node of this id is registered"


@dataclass(eq=False)
class LastNodeOfAgent(AgentringError):
    """A drain that is not forced would leave an agent without a node."""

    code: ClassVar[StatusCode] = StatusCode.FAILED_PRECONDITION
    reason: ClassVar[str] = "LAST_NODE_OF_AGENT"
    sentence: ClassVar[str] = "no other ACTIVE node hosts this agent; the drain must be forced"
    agent: str


@dataclass(eq=False)
class AgentNotFound(NotFound):
    """No node hosts the agent."""

    reason: ClassVar[str] = "AGENT_NOT_FOUND"
    sentence: ClassVar[str] = "no node hosts this agent"
    agent: str


@dataclass(eq=False)
class AgentMismatch(AgentringError):
    """The session is bound to another agent."""

    code: ClassVar[StatusCode] = StatusCode.FAILED_PRECONDITION
    reason: ClassVar[str] = "AGENT_MISMATCH"
    sentence: ClassVar[str] = "the session or task is bound to another agent"
    agent: str


class SessionCorrupt(AgentringError):
    """What the store has of the session cannot be read."""

    code = StatusCode.DATA_LOSS
    reason = "SESSION_CORRUPT"
    sentence = "what the store has of this session is damaged; an operator must restore it"


class SessionClosed(AgentringError):
    """The session was closed; its id rests."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "SESSION_CLOSED"
    sentence = "the session is closed"


@dataclass(eq=False)
class TurnInProgress(AgentringError):
    """on_busy REJECT, and a turn is running."""

    code: ClassVar[StatusCode] = StatusCode.FAILED_PRECONDITION
    reason: ClassVar[str] = "TURN_IN_PROGRESS"
    sentence: ClassVar[str] = "a turn is running"
    turn_id: str


class TaskInputMismatch(AgentringError):
    """The key is known with another agent or input."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "TASK_INPUT_MISMATCH"
    sentence = "the task key is known with another agent or input"


class TaskKeyActive(AgentringError):
    """on_duplicate REJECT, and a run is under way."""

    code = StatusCode.ALREADY_EXISTS
    reason = "TASK_KEY_ACTIVE"
    sentence = "a run of this task is under way"


class TaskCycle(AgentringError):
    """A step that runs once waits for a key that it holds itself."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "TASK_CYCLE"
    sentence = "the wait would be for the caller's own key"


class RunNotFound(NotFound):
    """No run of this key is known."""

    reason = "RUN_NOT_FOUND"
    sentence = "no run of this key is known"


@dataclass(eq=False)
class RunNotResolvable(AgentringError):
    """Only a run that failed, or of which nobody knows whether it took effect, can be resolved."""

    code: ClassVar[StatusCode] = StatusCode.FAILED_PRECONDITION
    reason: ClassVar[str] = "RUN_NOT_RESOLVABLE"
    sentence: ClassVar[str] = "only a run that failed or is unknown can be resolved"
    state: str


class TurnIdReused(AgentringError):
    """The turn_id is known with another input."""

    code = StatusCode.ALREADY_EXISTS
    reason = "TURN_ID_REUSED"
    sentence = "the turn_id was used with another input"


class InputAnswered(AgentringError):
    """The question was answered, with something else."""

    code = StatusCode.ALREADY_EXISTS
    reason = "INPUT_ANSWERED"
    sentence = "the question was answered with something else"


@dataclass(eq=False)
class ResumeOffsetExpired(AgentringError):
    """after_seq lies outside of what is kept."""

    code: ClassVar[StatusCode] = StatusCode.OUT_OF_RANGE
    reason: ClassVar[str] = "RESUME_OFFSET_EXPIRED"
    sentence: ClassVar[str] = "after_seq lies outside of the events that are kept"
    oldest_seq: int
    head_seq: int


@dataclass(eq=False)
class Halted(AgentringError):
    """Somebody has stopped it, until it is resumed."""

    code: ClassVar[StatusCode] = StatusCode.FAILED_PRECONDITION
    reason: ClassVar[str] = "HALTED"
    sentence: ClassVar[str] = (
        "it is halted; nothing of it starts until `agentring resume` with what is halted ends that"
    )
    what: str
    """As `agentring resume` takes it."""
    by: str
    since: str
    """RFC 3339."""
