"""`python -m interop.backend`: a user's own service, hosted as a node would host it. Prints its address when it serves.

It answers bytes with bytes, so that its clients need no generated code in any language; to a client that has some, its
messages are those of interop.proto. Metadata say what it does with a call:

| metadata | |
|---|---|
| call-id | `Outcome` can then be asked how the call ended |
| echo-… | comes back, in the initial metadata and again in the trailers |
| compress | answers are compressed with gzip |
| silent | nothing is sent before the first answer |
| trailer-bytes | how many of them come in the trailers |
| count | how often ServerStream repeats the request |
| fail-code, fail-message-bin | the status of Fail |
"""

from __future__ import annotations  # grpc's classes are generic only in their stubs

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeAlias

import grpc
from grpc import aio

SERVICE = "/interop.v1.EchoService/"
MAX_MESSAGE_BYTES = 8 << 20
"""More than the router lets through: which message is too large is for the router to say."""
OUTCOME_S = 10.0
"""How long `Outcome` waits for a call to end."""
ACCEPTED = (("x-agentring-node", "hosted"), ("x-agentring-epoch", "1"))

Pairs = tuple[tuple[str, str | bytes], ...]
Metadata = dict[str, str | bytes]
Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"
Requests = AsyncIterator[bytes]


class Outcomes:
    """How the calls ended that gave a call-id."""

    def __init__(self) -> None:
        self._ended: dict[str, asyncio.Future[str]] = {}

    @contextmanager
    def noting(self, call_id: str) -> Iterator[None]:
        """Around a call's work."""
        if not call_id:
            yield
            return
        ended = self._ended[call_id] = asyncio.get_running_loop().create_future()
        try:
            yield
        except BaseException:
            ended.set_result("cancelled")
            raise
        ended.set_result("completed")

    async def of(self, call_id: str) -> str:
        """`completed` or `cancelled`; `unknown`: no such call has come; `running`: it does not end."""
        if call_id not in self._ended:
            return "unknown"
        try:
            return await asyncio.wait_for(asyncio.shield(self._ended[call_id]), OUTCOME_S)
        except TimeoutError:
            return "running"


class Echo(grpc.GenericRpcHandler):
    """The service. Every call is accepted at once, as a node accepts: by initial metadata that name it."""

    def __init__(self) -> None:
        self._outcomes = Outcomes()
        self._methods: dict[str, Callable[[Requests, Context, Metadata], AsyncGenerator[bytes]]] = {
            "Unary": _echo,
            "ClientStream": _concatenate,
            "ServerStream": _repeat,
            "BidiStream": _echo,
            "Hold": _hold,
            "Ignore": _ignore,
            "Fail": _fail,
            "Outcome": self._outcome,
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Every method is served as a stream each way: on the wire the four kinds of call are the same."""
        method = handler_call_details.method.removeprefix(SERVICE)
        if method == "Abort":
            return grpc.stream_stream_rpc_method_handler(_abort)
        if (body := self._methods.get(method)) is None:
            return None

        async def handle(requests: Requests, context: Context) -> None:
            pairs: Pairs = tuple(context.invocation_metadata() or ())
            metadata = dict(pairs)
            with self._outcomes.noting(str(metadata.get("call-id", ""))):
                if "compress" in metadata:
                    context.set_compression(grpc.Compression.Gzip)
                if "silent" not in metadata:
                    await context.send_initial_metadata((*ACCEPTED, *_echoed(pairs)))
                context.set_trailing_metadata((*_echoed(pairs), *_long(int(metadata.get("trailer-bytes", 0)))))
                async with aclosing(body(requests, context, metadata)) as responses:
                    async for answer in responses:
                        await context.write(answer)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _outcome(self, requests: Requests, _context: Context, _sent: object) -> AsyncGenerator[bytes]:
        async for call_id in requests:
            yield (await self._outcomes.of(call_id.decode())).encode()


async def _echo(requests: Requests, _context: Context, _sent: object) -> AsyncGenerator[bytes]:
    async for message in requests:
        yield message


async def _concatenate(requests: Requests, _context: Context, _sent: object) -> AsyncGenerator[bytes]:
    yield b"".join([message async for message in requests])


async def _repeat(requests: Requests, _context: Context, metadata: Metadata) -> AsyncGenerator[bytes]:
    async for message in requests:
        for _ in range(int(metadata.get("count", 1))):
            yield message


async def _hold(requests: Requests, _context: Context, _sent: object) -> AsyncGenerator[bytes]:
    """Echoes, tells of the half-close, and then goes on until it is cancelled."""
    async for message in requests:
        yield message
    yield b"half-closed"
    await asyncio.Event().wait()


async def _ignore(_requests: Requests, _context: Context, _sent: object) -> AsyncGenerator[bytes]:
    """Never reads a message, until it is cancelled."""
    await asyncio.Event().wait()
    yield b""


async def _fail(requests: Requests, context: Context, metadata: Metadata) -> AsyncGenerator[bytes]:
    """One answer, and then the status that the client asked for."""
    async for message in requests:
        yield message
    context.set_code(_code(metadata))
    context.set_details(_message(metadata))


async def _abort(_requests: Requests, context: Context) -> None:
    """As Fail, without any answer or initial metadata: the status and its trailers are all there is."""
    pairs: Pairs = tuple(context.invocation_metadata() or ())
    await context.abort(_code(dict(pairs)), _message(dict(pairs)), _echoed(pairs))


def _echoed(pairs: Pairs) -> Pairs:
    return tuple(pair for pair in pairs if pair[0].startswith("echo-"))


def _long(size_bytes: int) -> Pairs:
    return tuple((f"long-{number}", "v" * 1000) for number in range(size_bytes // 1000))


def _code(metadata: Metadata) -> grpc.StatusCode:
    wanted = int(metadata["fail-code"])
    return next(code for code in grpc.StatusCode if code.value[0] == wanted)


def _message(metadata: Metadata) -> str:
    message = metadata["fail-message-bin"]
    assert isinstance(message, bytes)
    return message.decode()


async def main() -> None:
    """Serves until it is killed."""
    server = aio.server(
        options=(("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", -1))
    )
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
