"""Serves a service of the protos from an object with one method per RPC.

The object's methods are coroutines of a decoded request (or an async iterator of them) and a `Call`; they return the
response or, where responses are streamed, `send` each one, and raise AgentringErrors. Guarantees: whatever a client
sends, it gets a response or a status with an ErrorInfo, and nothing of an exception's text; a fault of ours is logged
with a traceback and an error_id, which is all that the client sees. A call whose first message does not come ends with
FIRST_FRAME_TIMEOUT, as does one of a method of one request whose end does not come; a second request for such a method,
and a number that is no value of its enum, are refused instead of ignored.

A method that the object does not have answers UNIMPLEMENTED, as does every method of no service here.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode

from agentring.auth.identity import Identity
from agentring.errors import (
    AgentringError,
    FirstFrameTimeout,
    InternalError,
    MalformedRequest,
    MessageTooLarge,
    MethodNotImplemented,
    SecondMessage,
)
from agentring.rpc.enum_check import EnumCheck, enum_check
from agentring.rpc.service_stream import ServiceStream

_log = structlog.get_logger()

_TURN_MESSAGES = 64
"""A method that need not wait for anything lets others have their turn after so many requests."""

_REFUSES = (StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED)
"""What says that the caller may not."""

Serve = Callable[[ServiceStream, float], Awaitable[None]]
"""Serves a call's stream; the number: first_frame_timeout_s."""


class Call:
    """One call as a service's method sees it."""

    def __init__(self, stream: ServiceStream) -> None:
        """Made by `serve`."""
        self._stream = stream
        self.metadata: Mapping[str, str] = stream.head.metadata
        """By name; of one that came several times, the last."""
        self.caller = stream.caller
        """Who calls; None: nobody was asked."""

    def named(self, tenant: str, target: str) -> None:
        """The message says what the call is about, and the metadata do not. target: `session/<id>`, for one."""
        stream = self._stream
        if (recorder := stream.recorder) is not None:
            recorder.named(stream.head, stream.connection.peer, _identity(stream), tenant, target)

    async def accept(self, *metadata: tuple[str, str]) -> None:
        """Sends the initial metadata: the call is accepted here, which is what a router waits for."""
        self._stream.accept(metadata)

    async def send(self, response: Message) -> None:
        """Sends one response of a stream; waits while the peer does not read (HTTP/2's flow control)."""
        await self.send_encoded(response.SerializeToString())

    async def send_encoded(self, response: bytes) -> None:
        """As `send`, of a response's bytes."""
        if (written := self._stream.write(response)) is not None:
            await written


class Requests(AsyncIterator[Any]):
    """What a client sends, decoded."""

    def __init__(self, request_class: type[Message], stream: ServiceStream, check: EnumCheck | None) -> None:
        """check: of the enums in a request; None: there are none."""
        self._class = request_class
        self._stream = stream
        self._check = check
        self._taken = 0

    async def __anext__(self) -> Message:
        """The next request. Raises what is wrong with it."""
        stream = self._stream
        while (raw := stream.next_message()) is None:
            if stream.is_complete:
                raise StopAsyncIteration
            await stream.arrival()
        self._taken += 1
        if not self._taken % _TURN_MESSAGES:
            await asyncio.sleep(0)
        return _decoded(raw, self._class, self._check)


def methods(service: ServiceDescriptor, servicer: object) -> dict[str, Serve]:
    """The RPCs of one service, by their full names. service: from a *_pb2's DESCRIPTOR.services_by_name; servicer: the
    object with its methods."""
    return {
        f"/{service.full_name}/{method.name}": _method(method, servicer)
        for method in service.methods
        if hasattr(servicer, method.name)
    }


async def serve(stream: ServiceStream, method: Serve | None, first_frame_timeout_s: float) -> None:
    """Serves a call to its end. method: None: there is none of this name."""
    error: AgentringError | None = None
    try:
        if method is None or stream.head.refusal is not None:
            with suppress(MalformedRequest, MessageTooLarge):  # it may be one of those that cannot be read here
                await first_message(stream, first_frame_timeout_s)
            raise stream.head.refusal or MethodNotImplemented()
        await method(stream, first_frame_timeout_s)
    except AgentringError as raised:
        error = raised
        if (recorder := stream.recorder) is not None and stream.head.refusal is None and raised.code in _REFUSES:
            recorder.refused(stream.head, stream.connection.peer, _identity(stream), raised.reason)
    except (Exception, asyncio.CancelledError) as fault:
        if isinstance(fault, asyncio.CancelledError) and _is_cancelled():
            raise
        # A CancelledError that nobody asked for is a fault too: passed on, it would leave the client without a status.
        error_id = uuid.uuid4().hex[:16]
        _log.exception("call_failed", method=stream.head.method, error_id=error_id)
        error = InternalError(error_id)
    stream.end(error)


def _identity(stream: ServiceStream) -> Identity | None:
    return stream.caller.identity if stream.caller is not None else None


async def first_message(stream: ServiceStream, timeout_s: float) -> bytes | None:
    """The first message; None: the client has closed its side without one. Awaited before any refusal: a status that
    overtakes a message which is being written is lost to a client on grpc.aio, which then reports INTERNAL."""
    if (raw := stream.next_message()) is not None:
        return raw
    await _arrived(stream, timeout_s)
    return stream.next_message()


def _method(method: MethodDescriptor, servicer: object) -> Serve:
    implementation = getattr(servicer, method.name)
    request_class = GetMessageClass(method.input_type)
    check = enum_check(method.input_type)

    async def stream_of_requests(stream: ServiceStream, first_frame_timeout_s: float) -> None:
        await _arrived(stream, first_frame_timeout_s)
        await implementation(Requests(request_class, stream, check), Call(stream))

    async def one_request(stream: ServiceStream, first_frame_timeout_s: float) -> None:
        raw = await first_message(stream, first_frame_timeout_s)
        if raw is None:
            raise MalformedRequest
        if not stream.is_complete:
            await _end_of_requests(stream, first_frame_timeout_s)
        request = _decoded(raw, request_class, check)
        response = await implementation(request, Call(stream))
        if not method.server_streaming:
            stream.write(response.SerializeToString())

    return stream_of_requests if method.client_streaming else one_request


def _decoded(raw: bytes, request_class: type[Message], check: EnumCheck | None) -> Message:
    """One request. Raises MalformedRequest, UnknownEnumValue."""
    try:
        request = request_class.FromString(raw)
    except (DecodeError, ValueError):
        raise MalformedRequest from None
    if check is not None:
        check(request)
    return request


async def _arrived(stream: ServiceStream, timeout_s: float) -> None:
    """Waits for a message, or the end of the client's side."""
    if stream.inbox or stream.inbox.error is not None or stream.is_complete:
        return
    try:
        async with asyncio.timeout(timeout_s):
            await stream.arrival()
    except TimeoutError:
        raise FirstFrameTimeout from None


async def _end_of_requests(stream: ServiceStream, timeout_s: float) -> None:
    await _arrived(stream, timeout_s)
    if stream.next_message() is not None:
        raise SecondMessage


def _is_cancelled() -> bool:
    """Whether this call was cancelled, by its client or by the server's stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
