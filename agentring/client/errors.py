"""What a client's call can end with, and what a failed call of gRPC's becomes.

Guarantees that whatever agentring answered is raised as the class of its reason (agentring/errors), and that no error
of gRPC's leaves this package. Says which failures another try may mend. Called by streams.py and unary.py.
"""

from dataclasses import dataclass, fields

import grpc

from agentring import errors
from agentring.errors import (
    AgentringError,
    CoordinatorUnavailable,
    NodeUnreachable,
    OwnerUnreachable,
    RouterOverloaded,
    RouterStopping,
)
from agentring.rpc.status import is_status_lost, read_error


class ClientError(Exception):
    """What a call ends with that is no answer of agentring's own kind."""


@dataclass(eq=False)
class RingUnreachable(ClientError):
    """Nobody at the targets answered in time, or a connection broke again and again."""

    sentence: str

    def __str__(self) -> str:
        """One sentence."""
        return self.sentence


@dataclass(eq=False)
class UnknownFailure(ClientError):
    """An answer that this version has no class for, or one of somebody else's server."""

    status: str
    """The name of the gRPC status, as in "PERMISSION_DENIED"."""
    reason: str
    """Empty where it is not agentring's."""
    sentence: str
    variables: dict[str, str]

    def __str__(self) -> str:
        """Status, reason, sentence."""
        return f"{self.status} {self.reason}: {self.sentence}"


@dataclass(eq=False)
class RunFailed(ClientError):
    """The turn or the task's run ended with an error."""

    reason: str
    """As TurnFailed.reason of the wire, as in "AGENT_ERROR"."""
    error_id: str
    detail: str = ""
    """Of STATE_INVALID, RESULT_INVALID and TOOL_ARGUMENT_INVALID: what was wrong and where."""

    def __str__(self) -> str:
        """One sentence."""
        why = f"{self.reason}, {self.detail}" if self.detail else self.reason
        return f"the run failed: {why} (error_id={self.error_id})"


@dataclass(eq=False)
class RunCancelled(ClientError):
    """The turn or the task's run was cancelled."""

    reason: str
    """As TurnCancelled.reason of the wire, as in "CLIENT"."""

    def __str__(self) -> str:
        """One sentence."""
        return f"the run was cancelled: {self.reason}"


@dataclass(eq=False)
class ForkedProcess(ClientError):
    """This process was forked from one that had connected before: the threads that serve a connection are not in it,
    and a call would wait for them for ever."""

    made_in: int
    """The pid of that process."""

    def __str__(self) -> str:
        """What to do."""
        return (
            f"this process was forked from {self.made_in}, which had connected already, and gRPC does not work in it: "
            "connect after the fork only, or start processes with multiprocessing's spawn or forkserver"
        )


class RingClosed(ClientError):
    """The connection was closed by its owner."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one try did not succeed."""

    error: AgentringError | ClientError
    is_final: bool
    """Another try would end the same way."""
    retry_after_s: float = 0.0
    elsewhere: bool = False
    """Another router may be able to."""


_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
_OF_ONE_ROUTER = (RouterStopping, RouterOverloaded, NodeUnreachable, OwnerUnreachable, CoordinatorUnavailable)
"""What may be one router's trouble alone."""
_BY_REASON = {found.reason: found for name in errors.__all__ for found in [getattr(errors, name)]}


def read_failure(error: grpc.RpcError) -> Failure:
    """A failed call of gRPC's."""
    report = read_error(error)
    if report.reason:
        answer = to_error(report.reason, report.variables, report.code.name, report.message)
        waiting_helps = report.retry_after_s is not None or report.code is grpc.StatusCode.UNAVAILABLE
        return Failure(answer, not waiting_helps, report.retry_after_s or 0.0, isinstance(answer, _OF_ONE_ROUTER))
    # gRPC reports a stream that was reset, and the end of a proxy's, in words of its own under INTERNAL.
    if report.code in _BROKEN or is_status_lost(error) or "RST_STREAM" in report.message:
        return broken(f"the connection was lost: {report.code.name}")
    return Failure(UnknownFailure(report.code.name, "", report.message, {}), is_final=True)


def broken(sentence: str) -> Failure:
    """A connection that was lost, for which another is made."""
    return Failure(RingUnreachable(sentence), is_final=False, elsewhere=True)


def to_error(reason: str, variables: dict[str, str], status: str, sentence: str) -> AgentringError | UnknownFailure:
    """The error of a reason; UnknownFailure where this version does not know it, or not with these variables."""
    if (found := _BY_REASON.get(reason)) is None:
        return UnknownFailure(status, reason, sentence, variables)
    try:
        values = (
            {
                field.name: int(variables[field.name]) if field.type in (int, "int") else variables[field.name]
                for field in fields(found)
                if field.init
            }
            if hasattr(found, "__dataclass_fields__")
            else {}
        )
    except (KeyError, ValueError):
        return UnknownFailure(status, reason, sentence, variables)
    error: AgentringError = found(**values)
    return error
