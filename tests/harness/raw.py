"""Calls as bytes, and refusals as a client finds them on the wire."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from agentring.errors import AgentringError
from agentring.rpc.status import DOMAIN, STATUS_DETAILS
from harness.client import TIMEOUT_S

SESSIONS = "/agentring.v1.SessionService/"
TASKS = "/agentring.v1.TaskService/"
STEPS = "/agentring.v1.OnceService/"
CLUSTER = "/agentring.v1.ClusterService/"
NODE = "/agentring.v1.NodeService/"

MAX_DETAILS_BYTES = 4 << 10
INTERNAL_WORDS = ("Traceback", 'File "', ".py", "Error(", "Exception", "asyncio", "grpc.aio", "127.0.0.1", "at 0x")
"""No refusal may hold any of these."""

LOST = (grpc.StatusCode.INTERNAL, "Internal error from Core")

Metadata = tuple[tuple[str, str], ...]


def exchange(
    channel: aio.Channel,
    method: str,
    message: Message | bytes,
    *,
    metadata: Metadata = (),
    compression: grpc.Compression | None = None,
    timeout_s: float = TIMEOUT_S,
) -> aio.UnaryStreamCall[bytes, bytes]:
    """Sends one message to a method of whatever kind; its answers are read as a stream."""
    send: aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(method)
    return send(_raw(message), timeout=timeout_s, metadata=metadata, compression=compression)


def converse(
    channel: aio.Channel,
    messages: Iterable[Message | bytes],
    *,
    method: str = SESSIONS + "Converse",
    metadata: Metadata = (),
    timeout_s: float = TIMEOUT_S,
) -> aio.StreamStreamCall[bytes, bytes]:
    """Sends messages one after the other; then closes the client's side."""

    async def requests() -> AsyncIterator[bytes]:
        for message in messages:
            yield _raw(message)

    send: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    return send(requests(), timeout=timeout_s, metadata=metadata)


def open_stream(
    channel: aio.Channel,
    *,
    method: str = SESSIONS + "Converse",
    metadata: Metadata = (),
    timeout_s: float = TIMEOUT_S,
) -> aio.StreamStreamCall[bytes, bytes]:
    """A stream on which nothing is sent but what the caller writes."""
    send: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    return send(timeout=timeout_s, metadata=metadata)


async def status_of(call: Any) -> grpc.aio.AioRpcError:
    """How a call ends that must end with an error."""
    try:
        while await call.read() is not aio.EOF:
            pass
    except aio.AioRpcError as error:
        return error
    raise AssertionError("the call ended with OK")


async def assert_stream_refused(
    channel: aio.Channel,
    messages: Sequence[Message | bytes],
    expected: AgentringError,
    *,
    method: str = SESSIONS + "Converse",
    metadata: Metadata = (),
) -> None:
    """As `assert_refused`, for a client that sends messages one after the other and then falls silent.

    A client on grpc.aio loses a status that overtakes a message of its own, and reports LOST in its place; then the
    call is made again: on a machine that has other things to do it may be lost many times in a row.
    """
    for _ in range(200):
        call = open_stream(channel, method=method, metadata=metadata)
        with suppress(aio.AioRpcError, asyncio.InvalidStateError):  # it may end before all is written
            for message in messages:
                await call.write(_raw(message))
        error = await status_of(call)
        if (error.code(), error.details()) != LOST:
            break
    assert_is(error, expected)


async def assert_refused(call: Any, expected: AgentringError) -> None:
    """The call ends with exactly this error: status, sentence, one ErrorInfo with its variables, RetryInfo, no more."""
    assert_is(await status_of(call), expected)


def assert_is(error: aio.AioRpcError, expected: AgentringError) -> None:
    """As `assert_refused`, for a call that has ended."""
    info, retry_after_s = read_details(error)
    fields = (error.code(), info.reason, error.details(), dict(info.metadata), retry_after_s)
    assert fields == (expected.code, expected.reason, expected.sentence, expected.variables, expected.retry_after_s)


def read_details(error: aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, float | None]:
    """The one ErrorInfo of an error, and how long to wait; checks all that holds for every error of agentring's."""
    trailing = list(error.trailing_metadata() or ())
    packed = [value for name, value in trailing if name == STATUS_DETAILS]
    assert len(packed) == 1, (error.code(), error.details(), trailing)
    assert isinstance(packed[0], bytes)
    assert len(packed[0]) < MAX_DETAILS_BYTES
    status = status_pb2.Status.FromString(packed[0])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    infos, retries = [], []
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            infos.append(error_details_pb2.ErrorInfo.FromString(detail.value))
        else:
            assert detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR), detail.type_url
            retries.append(error_details_pb2.RetryInfo.FromString(detail.value))
    assert len(infos) == 1, status
    assert len(retries) <= 1, status
    assert infos[0].domain == DOMAIN
    printed = f"{status} {trailing}"
    assert [word for word in INTERNAL_WORDS if word in printed] == []
    return infos[0], retries[0].retry_delay.ToTimedelta().total_seconds() if retries else None


def _raw(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
