"""Calls to a router: the channel, the deadline, and how an error is told.

Guarantees that an error of a call becomes one CallFailed, with the reason and its variables where agentring answered,
and the status alone where somebody else did (nothing listens there, a proxy). Called by every command that speaks to a
cluster.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from agentring.cli.errors import CallFailed
from agentring.metadata import TENANT_ID

CALL_DEADLINE_S = 5.0
_STATUS_DETAILS = "grpc-status-details-bin"
# A router is reached directly: a proxy that the environment names for web pages does not speak gRPC.
CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0),)


@contextmanager
def open_channel(router: str) -> Iterator[grpc.Channel]:
    """A channel to the router. Raises CallFailed for a call in the body that fails."""
    with grpc.insecure_channel(router, options=CHANNEL_OPTIONS) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            call = cast(grpc.Call, error)  # every RpcError of a call is one
            raise explain(router, call.code(), call.details(), call.trailing_metadata()) from error


def tenant_metadata(tenant: str) -> tuple[tuple[str, str], ...]:
    """The metadata that name the tenant."""
    return ((TENANT_ID, tenant),) if tenant else ()


def explain(
    router: str,
    code: grpc.StatusCode,
    details: str | None,
    trailers: Sequence[tuple[str, str | bytes]] | None,
) -> CallFailed:
    """A call's end in words."""
    info = error_info(trailers)
    sentence = " ".join((details or "no more is known").split())
    if info is None:
        return CallFailed(router, code.name, "", sentence)
    return CallFailed(router, code.name, info.reason, sentence, tuple(sorted(info.metadata.items())))


def error_info(trailers: Sequence[tuple[str, str | bytes]] | None) -> ErrorInfo | None:
    """The ErrorInfo that agentring puts into its trailers."""
    for name, value in trailers or ():
        if name != _STATUS_DETAILS or not isinstance(value, bytes):
            continue
        status = Status()
        try:
            status.ParseFromString(value)
            for detail in status.details:
                info = ErrorInfo()
                if detail.Unpack(info):
                    return info
        except DecodeError:
            return None
    return None
