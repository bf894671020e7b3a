"""The one tree of errors that agentring answers with.

Every leaf is one reason of the wire API (protos/agentring/v1): its gRPC status, its reason, one sentence, and its
variables as dataclass fields, all of which go into the ErrorInfo's metadata. `agentring/rpc/status.py` is the one place
that puts them on the wire. None ever carries another exception's text.
"""

from dataclasses import dataclass, fields
from typing import ClassVar

from grpc import StatusCode


@dataclass(eq=False)
class AgentringError(Exception):
    """Something that a caller is told, with a gRPC status and a reason."""

    code: ClassVar[StatusCode] = StatusCode.INTERNAL
    reason: ClassVar[str] = "INTERNAL"
    sentence: ClassVar[str] = "something went wrong; the log has more under this error_id"
    retry_after_s: ClassVar[float | None] = None
    """How long to wait before trying again; None: trying again does not help."""

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.retry_after_s is not None

    @property
    def variables(self) -> dict[str, str]:
        """The fields, as the ErrorInfo's metadata."""
        return {f.name: str(getattr(self, f.name)) for f in fields(self)}

    def __str__(self) -> str:
        """One sentence, then the fields."""
        told = ", ".join(f"{name}={value}" for name, value in self.variables.items())
        return f"{self.sentence} ({told})" if told else self.sentence


@dataclass(eq=False)
class InternalError(AgentringError):
    """A fault of ours. The error_id stands in the log beside the traceback."""

    error_id: str


# --- what the client sent is wrong ---------------------------------------------------------------------------------


class InvalidArgument(AgentringError):
    """The request can never succeed as it is."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"


class MalformedRequest(InvalidArgument):
    """The bytes are no message of the method's type."""

    reason = "MALFORMED_REQUEST"
    sentence = "the request is not a valid message of its type"


class InvalidSessionId(InvalidArgument):
    """The session's name is not well formed."""

    reason = "INVALID_SESSION_ID"
    sentence = "session_id must match [A-Za-z0-9._~:@-]{1,128}"


class InvalidTenantId(InvalidArgument):
    """The tenant's name is not well formed."""

    reason = "INVALID_TENANT_ID"
    sentence = "x-tenant-id must match [A-Za-z0-9._~:@-]{1,128}"


class InvalidTurnId(InvalidArgument):
    """The turn's name is not well formed."""

    reason = "INVALID_TURN_ID"
    sentence = "turn_id must match [A-Za-z0-9._~:@-]{1,128}"


class InvalidTaskKey(InvalidArgument):
    """The task's name is not well formed."""

    reason = "INVALID_TASK_KEY"
    sentence = "task_key must be 1 to 256 printable ASCII characters other than the space"


@dataclass(eq=False)
class InvalidRetention(InvalidArgument):
    """The retention is out of bounds."""

    reason: ClassVar[str] = "INVALID_RETENTION"
    sentence: ClassVar[str] = "retention is out of bounds"
    min_s: int
    max_s: int


class RouteMissing(InvalidArgument):
    """Nothing says which session or task is meant."""

    reason = "ROUTE_MISSING"
    sentence = "neither the metadata nor the first message names a session or a task"


class RouteMismatch(InvalidArgument):
    """Metadata and message name different sessions, tasks or agents."""

    reason = "ROUTE_MISMATCH"
    sentence = "the metadata and the message name different sessions, tasks or agents"


class FirstFrameNotOpen(InvalidArgument):
    """A Converse stream began with something else."""

    reason = "FIRST_FRAME_NOT_OPEN"
    sentence = "the first frame of Converse must be open"


class SecondOpen(InvalidArgument):
    """A Converse stream was opened twice."""

    reason = "SECOND_OPEN"
    sentence = "open may be sent only once, as the first frame"


class AgentRequired(InvalidArgument):
    """A new session or task without an agent."""

    reason = "AGENT_REQUIRED"
    sentence = "a new session or task needs an agent"


class MessageTooLarge(AgentringError):
    """One message is over the limit."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "MESSAGE_TOO_LARGE"
    sentence = "a message may have at most 1 MiB"


class MetadataTooLarge(AgentringError):
    """The call's metadata are over the limit."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "METADATA_TOO_LARGE"
    sentence = "metadata may have at most 8 KiB"


class FirstFrameTimeout(AgentringError):
    """A stream was opened and nothing sent."""

    code = StatusCode.DEADLINE_EXCEEDED
    reason = "FIRST_FRAME_TIMEOUT"
    sentence = "the stream was opened but its first message did not come in time"


class MethodNotImplemented(AgentringError):
    """There is no such method here, or not yet."""

    code = StatusCode.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"
    sentence = "this method is not served here"


# --- what the client asks for is not there --------------------------------------------------------------------------


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


class TaskNotFound(NotFound):
    """There is no such task."""

    reason = "TASK_NOT_FOUND"
    sentence = "there is no such task"


@dataclass(eq=False)
class AgentNotFound(NotFound):
    """No node hosts the agent."""

    reason: ClassVar[str] = "AGENT_NOT_FOUND"
    sentence: ClassVar[str] = "no node hosts this agent"
    agent: str


# --- the state of things forbids it ---------------------------------------------------------------------------------


@dataclass(eq=False)
class AgentMismatch(AgentringError):
    """The session is bound to another agent."""

    code: ClassVar[StatusCode] = StatusCode.FAILED_PRECONDITION
    reason: ClassVar[str] = "AGENT_MISMATCH"
    sentence: ClassVar[str] = "the session is bound to another agent"
    agent: str


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


class TurnIdReused(AgentringError):
    """The turn_id is known with another input."""

    code = StatusCode.ALREADY_EXISTS
    reason = "TURN_ID_REUSED"
    sentence = "the turn_id was used with another input"


@dataclass(eq=False)
class ResumeOffsetExpired(AgentringError):
    """after_seq lies outside of what is kept."""

    code: ClassVar[StatusCode] = StatusCode.OUT_OF_RANGE
    reason: ClassVar[str] = "RESUME_OFFSET_EXPIRED"
    sentence: ClassVar[str] = "after_seq lies outside of the events that are kept"
    oldest_seq: int
    head_seq: int


# --- not now --------------------------------------------------------------------------------------------------------


class Unavailable(AgentringError):
    """Try again soon."""

    code = StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"
    retry_after_s = 1.0


class SessionMoving(Unavailable):
    """The session or task has no owner that answers; a lease runs out, then it has a new one."""

    reason = "SESSION_MOVING"
    sentence = "the session or task is moving to another node"


class NodeDraining(Unavailable):
    """The node takes nothing new."""

    reason = "NODE_DRAINING"
    sentence = "the node is draining"


class NodeFenced(Unavailable):
    """The node may have lost its lease and has stopped."""

    reason = "NODE_FENCED"
    sentence = "the node has lost its lease and has dropped its sessions"


class NodeUnreachable(Unavailable):
    """The connection to the node broke or was never made."""

    reason = "NODE_UNREACHABLE"
    sentence = "the connection to the session's node was lost"


class NoNodes(Unavailable):
    """The ring is empty."""

    reason = "NO_NODES"
    sentence = "no node is there to take it"


class CoordinatorUnavailable(Unavailable):
    """etcd does not answer, so nothing can be claimed."""

    reason = "COORDINATOR_UNAVAILABLE"
    sentence = "the coordinator does not answer"


class MailboxFull(AgentringError):
    """Too many turns wait in this session."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "MAILBOX_FULL"
    sentence = "too many turns wait in this session"
    retry_after_s = 1.0


class NodeOverloaded(AgentringError):
    """The node, or every node that could take it, is at its limit."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "NODE_OVERLOADED"
    sentence = "the node is at its limit"
    retry_after_s = 1.0


# --- ownership ------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class NotOwner(AgentringError):
    """Another node owns it. Routers follow this; clients meet it only without a router."""

    code: ClassVar[StatusCode] = StatusCode.ABORTED
    reason: ClassVar[str] = "NOT_OWNER"
    sentence: ClassVar[str] = "another node owns it"
    retry_after_s: ClassVar[float | None] = 0.0
    node: str
    address: str
    epoch: int


class StaleEpoch(AgentringError):
    """A later epoch exists."""

    code = StatusCode.ABORTED
    reason = "STALE_EPOCH"
    sentence = "a later owner exists"
    retry_after_s = 0.0
