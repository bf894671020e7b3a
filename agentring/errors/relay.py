"""What became of a call between a router and its node: an answer that is none, or connections that broke under it."""

from dataclasses import dataclass
from typing import ClassVar

from grpc import StatusCode

from agentring.errors.base import AgentringError


@dataclass(eq=False)
class CallReset(AgentringError):
    """The node ended the call by RST_STREAM. Whether it ran is for who serves the method to say."""

    code: ClassVar[StatusCode] = StatusCode.INTERNAL
    reason: ClassVar[str] = "CALL_RESET"
    sentence: ClassVar[str] = "the node reset the call instead of answering it"
    http2_code: str
    """The name of RFC 9113's error code."""


@dataclass(eq=False)
class CallCancelled(CallReset):
    """The same with CANCEL: who serves the method does not go on with the call."""

    code: ClassVar[StatusCode] = StatusCode.CANCELLED
    reason: ClassVar[str] = "CALL_CANCELLED"
    sentence: ClassVar[str] = "the node cancelled the call"


@dataclass(eq=False)
class CallShed(CallReset):
    """The same with ENHANCE_YOUR_CALM."""

    code: ClassVar[StatusCode] = StatusCode.RESOURCE_EXHAUSTED
    reason: ClassVar[str] = "CALL_SHED"
    sentence: ClassVar[str] = "the node takes no such load, and reset the call"
    retry_after_s: ClassVar[float | None] = 1.0


class MalformedAnswer(AgentringError):
    """The node's answer breaks a rule, so nothing of it can be passed on."""

    reason = "MALFORMED_ANSWER"
    sentence = "the node's answer is not what HTTP/2 and gRPC allow"


class ConnectionsLost(AgentringError):
    """Twice a node was sent the call, and the connection to it broke. It may be the call that does that, so it is not
    tried again, and no client should do so by itself."""

    reason = "CONNECTIONS_LOST"
    sentence = "two connections to nodes broke or fell silent while they had this call, so it is not tried on a third"
