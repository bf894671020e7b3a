"""Why a call failed, in the server's own words.

Guarantees one Problem per failed call: the ErrorInfo's reason where the server sent one, else the bare status, under
another kind, so that an error without the promised ErrorInfo stands out. Called by `sessions`.
"""

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from scripts.loadgen.turn import Problem

STATUS_LOST = Problem("client", "STATUS_LOST")
"""The server ended the call, but nobody here will learn how."""

_DETAILS = "grpc-status-details-bin"

# grpc.aio's own words for a write that met the end of its stream; they take the place of the status that came with it.
_WRITE_FAILED = "Internal error from Core"


def problem_of(error: grpc.aio.AioRpcError) -> Problem:
    """What the failed call said."""
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == _WRITE_FAILED:
        return STATUS_LOST
    reason = _error_info_reason(error)
    return Problem("rpc", reason) if reason else Problem("grpc", error.code().name)


def _error_info_reason(error: grpc.aio.AioRpcError) -> str | None:
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS or not isinstance(value, bytes):
            continue
        try:
            details = status_pb2.Status.FromString(value).details
            info = error_details_pb2.ErrorInfo()
            return next((info.reason for detail in details if detail.Unpack(info)), None)
        except DecodeError:
            return None
    return None
