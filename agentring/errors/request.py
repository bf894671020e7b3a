"""What the client sent is wrong: the same call can never succeed."""

from dataclasses import dataclass
from typing import ClassVar

from grpc import StatusCode

from agentring.errors.base import AgentringError


class InvalidArgument(AgentringError):
    """The request can never succeed as it is."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"


class MalformedRequest(InvalidArgument):
    """The bytes are no message of the method's type."""

    reason = "MALFORMED_REQUEST"
    sentence = "the request is not a valid message of its type"


@dataclass(eq=False)
class MalformedHeader(InvalidArgument):
    """A header field is not what HTTP/2 and gRPC allow; nobody but the first process has seen it."""

    reason: ClassVar[str] = "MALFORMED_HEADER"
    sentence: ClassVar[str] = "a header field is not what HTTP/2 and gRPC allow, or is said twice"
    header: str


class SecondMessage(InvalidArgument):
    """A method of one request was sent another."""

    reason = "SECOND_MESSAGE"
    sentence = "the method takes one request"


@dataclass(eq=False)
class UnknownEnumValue(InvalidArgument):
    """A number in the request is no value of its enum."""

    reason: ClassVar[str] = "UNKNOWN_ENUM_VALUE"
    sentence: ClassVar[str] = "a field has a number that is no value of its enum"
    field: str


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


class InvalidPageToken(InvalidArgument):
    """The page token is none of this list's."""

    reason = "INVALID_PAGE_TOKEN"
    sentence = "page_token is not of a page before, of the same list"


@dataclass(eq=False)
class InvalidRetention(InvalidArgument):
    """The retention is out of bounds."""

    reason: ClassVar[str] = "INVALID_RETENTION"
    sentence: ClassVar[str] = "retention is out of bounds"
    min_s: int
    max_s: int


@dataclass(eq=False)
class InvalidTimeout(InvalidArgument):
    """The run's deadline is out of bounds."""

    reason: ClassVar[str] = "INVALID_TIMEOUT"
    sentence: ClassVar[str] = "timeout must be above 0 and at most what the node allows (max_turn_timeout_s)"
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


@dataclass(eq=False)
class MessageTooLarge(AgentringError):
    """One message is over the limit."""

    max_bytes: int = 1 << 20

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "MESSAGE_TOO_LARGE"
    sentence = "the message has more than max_bytes"


class MetadataTooLarge(AgentringError):
    """The call's metadata are over the limit."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "METADATA_TOO_LARGE"
    sentence = "metadata may have at most 8 KiB"


class AnswerMetadataTooLarge(AgentringError):
    """What a service wants to answer with does not fit."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "ANSWER_METADATA_TOO_LARGE"
    sentence = "the service answers with headers or trailers of more than 64 KiB"


class FirstFrameTimeout(AgentringError):
    """A stream was opened and nothing sent."""

    code = StatusCode.DEADLINE_EXCEEDED
    reason = "FIRST_FRAME_TIMEOUT"
    sentence = "the stream was opened but its first message did not come in time"


class DeadlineExceeded(AgentringError):
    """The caller's own deadline."""

    code = StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_PASSED"
    sentence = "the call's deadline has passed"


class EncodingNotSupported(AgentringError):
    """Nobody here can unpack the request; the answer's `grpc-accept-encoding` has the ways that are known."""

    code = StatusCode.UNIMPLEMENTED
    reason = "ENCODING_NOT_SUPPORTED"
    sentence = "messages may be compressed with gzip or deflate, or not at all"


class MethodNotImplemented(AgentringError):
    """There is no such method here, or not yet."""

    code = StatusCode.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"
    sentence = "this method is not served here"


@dataclass(eq=False)
class InvalidPart(InvalidArgument):
    """A part of an input, or its number of parts, is not what it may be."""

    reason: ClassVar[str] = "INVALID_PART"
    sentence: ClassVar[str] = "a part of the input is not well formed"
    part: int
    """Its place, from 0."""
    problem: str


@dataclass(eq=False)
class InvalidFile(InvalidArgument):
    """A file is not what its first message says, or what one may be."""

    reason: ClassVar[str] = "INVALID_FILE"
    sentence: ClassVar[str] = "the file cannot be taken"
    problem: str


@dataclass(eq=False)
class InvalidHalt(InvalidArgument):
    """What is to be halted or resumed is not said, or cannot be."""

    reason: ClassVar[str] = "INVALID_HALT"
    sentence: ClassVar[str] = "the halt is not complete"
    problem: str
