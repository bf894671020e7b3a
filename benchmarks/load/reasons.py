"""Why a call failed, in the server's own words.

Guarantees one Problem per failed call: the ErrorInfo's reason where the server sent one, else the bare status, under
another kind, so that an error without the promised ErrorInfo stands out. Called by `sessions`.
"""

import grpc

from agentring.rpc.status import is_status_lost, read_error
from benchmarks.load.turn import Problem

STATUS_LOST = Problem("client", "STATUS_LOST")
"""The server ended the call, but nobody here will learn how."""


def problem_of(error: grpc.aio.AioRpcError) -> Problem:
    """What the failed call said."""
    if is_status_lost(error):
        return STATUS_LOST
    reason = read_error(error).reason
    return Problem("rpc", reason) if reason else Problem("grpc", error.code().name)
