"""Serves a service of the protos from an object with one method per RPC.

The object's methods are coroutines of a decoded request (or an async iterator of them) and a `Call`; they return the
response or, where responses are streamed, `send` each one, and raise AgentringErrors. Guarantees: whatever a client
sends, it gets a response or a status with an ErrorInfo, and nothing of an exception's text; a fault of ours is logged
with a traceback and an error_id, which is all that the client sees. Stock grpc.aio answers garbage with the decoder's
words and a raising handler with the exception's.

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

from agentring.errors import AgentringError, InternalError, MalformedRequest, MethodNotImplemented
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

    def __init__(self, service: ServiceDescriptor, servicer: object) -> None:
        """service: from a *_pb2's DESCRIPTOR.services_by_name; servicer: the object with its methods."""
        self._handlers = {
            f"/{service.full_name}/{method.name}": _method_handler(method, servicer)
            for method in service.methods
            if hasattr(servicer, method.name)
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a method; None: not one of these."""
        return self._handlers.get(handler_call_details.method)


class Unimplemented(grpc.GenericRpcHandler):
    """Answers every method."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The same handler for all."""
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, _requests: object, context: aio.ServicerContext[Any, Any]) -> None:
        await abort(context, MethodNotImplemented())


async def abort(context: aio.ServicerContext[Any, Any], error: AgentringError) -> None:
    """Ends a call with an error. Always raises."""
    await context.abort(error.code, error.sentence, trailers(error))


def _method_handler(method: MethodDescriptor, servicer: object) -> grpc.RpcMethodHandler[Any, Any]:
    implementation = getattr(servicer, method.name)
    request_class = GetMessageClass(method.input_type)

    async def unary(raw: bytes, context: aio.ServicerContext[Any, Any]) -> Any:
        async def body() -> bytes:
            response = await implementation(_decode(request_class, raw), Call(context))
            return bytes(response.SerializeToString())

        return await _guarded(method.full_name, context, body)

    async def server_stream(raw: bytes, context: aio.ServicerContext[Any, Any]) -> None:
        await _guarded(method.full_name, context, lambda: implementation(_decode(request_class, raw), Call(context)))

    async def both_stream(raws: AsyncIterator[bytes], context: aio.ServicerContext[Any, Any]) -> None:
        async def body() -> None:
            async with aclosing(_decode_all(request_class, raws)) as requests:
                await implementation(requests, Call(context))

        await _guarded(method.full_name, context, body)

    if method.client_streaming:
        return grpc.stream_stream_rpc_method_handler(both_stream)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(server_stream)
    return grpc.unary_unary_rpc_method_handler(unary)


async def _guarded(method: str, context: aio.ServicerContext[Any, Any], body: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await body()
    except AgentringError as error:
        await abort(context, error)
    except (aio.AbortError, asyncio.CancelledError):
        raise
    except Exception:
        error_id = uuid.uuid4().hex[:16]
        _log.exception("call_failed", method=method, error_id=error_id)
        await abort(context, InternalError(error_id))


async def _decode_all(request_class: type[Message], raws: AsyncIterator[bytes]) -> AsyncGenerator[Message, None]:
    async for raw in raws:
        yield _decode(request_class, raw)


def _decode(request_class: type[Message], raw: bytes) -> Message:
    check_message(raw)
    try:
        return request_class.FromString(raw)
    except (DecodeError, ValueError):
        raise MalformedRequest from None
