"""Serves a service of the protos from an object with one method per RPC.

The object's methods are coroutines of a decoded request (or an async iterator of them) and a `Call`; they return the
response or, where responses are streamed, `send` each one, and raise AgentringErrors. Guarantees: whatever a client
sends, it gets a response or a status with an ErrorInfo, and nothing of an exception's text; a fault of ours is logged
with a traceback and an error_id, which is all that the client sees. A call whose first message does not come ends with
FIRST_FRAME_TIMEOUT. Stock grpc.aio answers garbage with the decoder's words and a raising handler with the exception's;
where an RPC's one request message never comes, it waits for ever without telling the handler, so every RPC is served as
a stream here, which is the same on the wire.

A method that the object does not have answers UNIMPLEMENTED, as does every method of no service here
(`Unimplemented`, which goes last in a server's list).
"""

from __future__ import annotations  # grpc's classes are generic only in their stubs

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from agentring.errors import AgentringError, FirstFrameTimeout, InternalError, MalformedRequest, MethodNotImplemented
from agentring.rpc.limits import check_message, check_metadata
from agentring.rpc.status import trailers

_log = structlog.get_logger()


class Call:
    """One call as a service's method sees it."""

    def __init__(self, context: aio.ServicerContext[Any, Any]) -> None:
        """Made by ServiceHandler."""
        self._context = context
        pairs = tuple(context.invocation_metadata() or ())
        check_metadata(pairs)
        self.metadata = {name: value for name, value in pairs if isinstance(value, str)}

    async def accept(self, *metadata: tuple[str, str]) -> None:
        """Sends the initial metadata: the call is accepted here, which is what a router waits for."""
        await self._context.send_initial_metadata(metadata)

    async def send(self, response: Message) -> None:
        """Sends one response of a stream; waits while the peer does not read (gRPC's flow control)."""
        await self._context.write(response.SerializeToString())


class ServiceHandler(grpc.GenericRpcHandler):
    """The RPCs of one service."""

    def __init__(self, service: ServiceDescriptor, servicer: object, *, first_frame_timeout_s: float) -> None:
        """service: from a *_pb2's DESCRIPTOR.services_by_name; servicer: the object with its methods;
        first_frame_timeout_s: how long a call may be open without its first message."""
        self._handlers = {
            f"/{service.full_name}/{method.name}": _method_handler(method, servicer, first_frame_timeout_s)
            for method in service.methods
            if hasattr(servicer, method.name)
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a method; None: not one of these."""
        return self._handlers.get(handler_call_details.method)


class Unimplemented(grpc.GenericRpcHandler):
    """Answers every method."""

    def __init__(self, *, first_frame_timeout_s: float) -> None:
        """first_frame_timeout_s: as ServiceHandler."""
        self._first_frame_timeout_s = first_frame_timeout_s

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The same handler for all."""
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, raws: AsyncIterator[bytes], context: aio.ServicerContext[Any, Any]) -> None:
        async def body() -> None:
            await _first(raws, self._first_frame_timeout_s)
            raise MethodNotImplemented

        await _guarded("unknown", context, body)


async def abort(context: aio.ServicerContext[Any, Any], error: AgentringError) -> None:
    """Ends a call with an error. Always raises."""
    await context.abort(error.code, error.sentence, trailers(error))


def _method_handler(
    method: MethodDescriptor, servicer: object, first_frame_timeout_s: float
) -> grpc.RpcMethodHandler[Any, Any]:
    implementation = getattr(servicer, method.name)
    request_class = GetMessageClass(method.input_type)

    async def handle(raws: AsyncIterator[bytes], context: aio.ServicerContext[Any, Any]) -> None:
        async def body() -> None:
            first = await _first(raws, first_frame_timeout_s)
            call = Call(context)
            async with aclosing(_decode_all(request_class, first, raws)) as requests:
                if method.client_streaming:
                    await implementation(requests, call)
                    return
                request = await anext(requests, None)
            if request is None:
                raise MalformedRequest
            response = await implementation(request, call)
            if not method.server_streaming:
                await call.send(response)

        await _guarded(method.full_name, context, body)

    return grpc.stream_stream_rpc_method_handler(handle)


async def _guarded(method: str, context: aio.ServicerContext[Any, Any], body: Callable[[], Awaitable[None]]) -> None:
    try:
        await body()
    except AgentringError as error:
        await abort(context, error)
    except aio.AbortError:
        raise
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        # A CancelledError that nobody asked for is a fault too: passed on, it would leave the client without a status.
        error_id = uuid.uuid4().hex[:16]
        _log.exception("call_failed", method=method, error_id=error_id)
        await abort(context, InternalError(error_id))


def _is_cancelled() -> bool:
    """Whether this call was cancelled, by its client or by the server's stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _first(raws: AsyncIterator[bytes], timeout_s: float) -> bytes | None:
    """The first message; None: the client has closed its side without one. Awaited before any refusal: a status that
    overtakes a message which is being written is lost to a client on grpc.aio, which then reports INTERNAL."""
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(raws, None)
    except TimeoutError:
        raise FirstFrameTimeout from None


async def _decode_all(
    request_class: type[Message], first: bytes | None, raws: AsyncIterator[bytes]
) -> AsyncGenerator[Message, None]:
    raw = first
    while raw is not None:
        yield _decode(request_class, raw)
        raw = await anext(raws, None)


def _decode(request_class: type[Message], raw: bytes) -> Message:
    check_message(raw)
    try:
        return request_class.FromString(raw)
    except (DecodeError, ValueError):
        raise MalformedRequest from None
