"""Errors on the wire: the one place that turns an AgentringError into a gRPC status, and reads it back.

Guarantees that a status carries exactly one ErrorInfo, a RetryInfo where waiting helps, no text but the error's own
sentence and fields, and at most 4 KiB of details.
"""

from contextlib import suppress
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from agentring import metadata
from agentring.errors import (
    AgentNotFound,
    AgentringError,
    AgentUnavailable,
    NodeDraining,
    NodeFenced,
    NodeOverloaded,
    NotOwner,
    SessionMoving,
    StaleEpoch,
)

DOMAIN = "agentring"
STATUS_DETAILS = "grpc-status-details-bin"
_WRITE_MET_THE_END = "Internal error from Core"

_MOVED = (NodeDraining, NodeFenced, SessionMoving, StaleEpoch)
"""What a session or task that goes on elsewhere ends with here."""
_MAX_VALUE_CHARS = 256
_MAX_ROUTED_CHARS = 512

Metadata = tuple[tuple[str, str | bytes], ...]


def trailers(error: AgentringError) -> Metadata:
    """The trailing metadata of an error: the packed google.rpc.Status, and what a router decides by."""
    found: Metadata = ((STATUS_DETAILS, to_status(error).SerializeToString()), (metadata.NODE_SAYS, "1"))
    match error:
        case NotOwner(node=node, address=address):
            name, value = metadata.REDIRECT, f"{node} {address}"
        case NodeDraining():
            name, value = metadata.REFUSED, "draining"
        case NodeOverloaded():
            name, value = metadata.REFUSED, "overloaded"
        case AgentNotFound(agent=agent) | AgentUnavailable(agent=agent):
            name, value = metadata.REFUSED, f"agent={agent}"
        case _:
            name, value = "", ""
    # One that HTTP/2 cannot carry would take the whole status with it.
    if name and value.isascii() and value.isprintable() and len(value) <= _MAX_ROUTED_CHARS:
        found = (*found, (name, value))
    return (*found, (metadata.MOVED, "1")) if isinstance(error, _MOVED) else found


def to_status(error: AgentringError) -> status_pb2.Status:
    """The google.rpc.Status of an error."""
    variables = {name: _utf8(value[:_MAX_VALUE_CHARS]) for name, value in error.variables.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=variables)
    details = [_packed(info)]
    if (wait_s := error.wait_s) is not None:
        delay = duration_pb2.Duration(nanos=int(wait_s % 1 * 1e9), seconds=int(wait_s))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=error.code.value[0], message=_utf8(error.sentence), details=details)


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """A failed call, as its caller sees it."""

    code: grpc.StatusCode
    reason: str
    """Empty where the error is not agentring's."""
    message: str
    variables: dict[str, str]
    retry_after_s: float | None

    def __str__(self) -> str:
        """One line for people."""
        fields = ", ".join(f"{name}={value}" for name, value in sorted(self.variables.items()))
        return f"{self.code.name} {self.reason}: {self.message}" + (f" ({fields})" if fields else "")


def is_status_lost(error: grpc.RpcError) -> bool:
    """Whether grpc.aio's own words stand where the call's status should: its write met the end of the stream. What the
    server said is then known to nobody here, so the call counts as broken off."""
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == _WRITE_MET_THE_END


def read_error(error: grpc.RpcError) -> ErrorReport:
    """What a failed call says, from its trailing metadata."""
    code = error.code()
    reason, variables, retry_after_s = "", {}, None
    pairs: tuple[tuple[str, str | bytes], ...] = tuple(error.trailing_metadata() or ())  # type: ignore[arg-type]
    for name, packed in pairs:
        if name != STATUS_DETAILS or not isinstance(packed, bytes):
            continue
        with suppress(DecodeError):  # somebody else's server; the code and the message are still worth telling
            for detail in status_pb2.Status.FromString(packed).details:
                info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
                if detail.Unpack(info) and info.domain == DOMAIN:
                    reason, variables = info.reason, dict(info.metadata)
                elif detail.Unpack(retry):
                    retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return ErrorReport(code, reason, error.details() or "", variables, retry_after_s)


def _utf8(text: str) -> str:
    """Protobuf refuses half a surrogate pair, and with it the whole status."""
    return text.encode("utf-8", "replace").decode()


def _packed(detail: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
