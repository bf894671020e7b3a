"""`python -m interop.python.aio_client`: the cases with grpc.aio. See wire.py for how it is led."""

from __future__ import annotations  # grpc's classes are generic only in their stubs

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import grpc
from grpc import StatusCode, aio

from . import wire
from .wire import Call, check, payload

Stream: TypeAlias = "aio.StreamStreamCall[bytes, bytes]"


class Client:
    """A connection, and the calls on it."""

    def __init__(self, channel: aio.Channel, session: str) -> None:
        self.channel = channel
        self.session = session

    def call(self, *more: tuple[str, str | bytes]) -> Call:
        return Call(self.session, *more)

    async def unary(self, message: bytes, call: Call | None = None, method: str = "Unary", gzip: bool = False) -> bytes:
        send: aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(wire.SERVICE + method)
        compression = grpc.Compression.Gzip if gzip else None
        metadata = (call or self.call()).metadata
        return await send(message, metadata=metadata, timeout=wire.TIMEOUT_S, compression=compression)

    def repeat(self, message: bytes, call: Call, method: str = "ServerStream") -> aio.UnaryStreamCall[bytes, bytes]:
        send: aio.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(wire.SERVICE + method)
        return send(message, metadata=call.metadata, timeout=wire.LONG_TIMEOUT_S)

    def stream(self, method: str, call: Call | None = None, timeout_s: float = wire.LONG_TIMEOUT_S) -> Stream:
        send: aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(wire.SERVICE + method)
        return send(metadata=(call or self.call()).metadata, timeout=timeout_s)

    async def check_outcome(self, call: Call, *expected: str) -> None:
        outcome = (await self.unary(call.id.encode(), method="Outcome")).decode()
        check(outcome in expected, outcome)


async def check_status(call: Stream | aio.UnaryStreamCall[bytes, bytes], expected: StatusCode) -> None:
    code = await asyncio.wait_for(call.code(), wire.TIMEOUT_S)
    check(code is expected, code, await call.details())


async def exchange(stream: Stream, *messages: bytes) -> None:
    """One after the other, each echoed before the next."""
    for message in messages:
        await stream.write(message)
        answer = await stream.read()
        check(answer == message, answer)


async def finish(stream: Stream) -> None:
    await stream.done_writing()
    check(await stream.read() is aio.EOF)
    await check_status(stream, StatusCode.OK)


async def unary(client: Client) -> None:
    check(await client.unary(b"one message") == b"one message")


async def client_stream(client: Client) -> None:
    send: aio.StreamUnaryMultiCallable[bytes, bytes] = client.channel.stream_unary(wire.SERVICE + "ClientStream")
    call = send(metadata=client.call().metadata, timeout=wire.TIMEOUT_S)
    for n in range(100):
        await call.write(f"{n} ".encode())
    await call.done_writing()
    check(await call == b"".join(f"{n} ".encode() for n in range(100)))


async def server_stream(client: Client) -> None:
    responses = [answer async for answer in client.repeat(b"again", client.call(("count", "100")))]
    check(responses == [b"again"] * 100, len(responses))


async def bidi(client: Client) -> None:
    stream = client.stream("BidiStream")
    await exchange(stream, *(f"{n}".encode() for n in range(100)))
    await finish(stream)


async def message_of(size: int, client: Client) -> None:
    check(await client.unary(payload(size)) == payload(size))


async def message_over_limit(client: Client) -> None:
    try:
        await client.unary(payload(wire.LIMIT + 1))
    except aio.AioRpcError as error:
        check(error.code() is StatusCode.RESOURCE_EXHAUSTED, error)
        details = dict(error.trailing_metadata() or ()).get(wire.STATUS_DETAILS, b"")
        check(isinstance(details, bytes) and b"MESSAGE_TOO_LARGE" in details, error)
    else:
        check(False, "it went through")
    await unary(client)


async def bidi_10000(client: Client) -> None:
    stream = client.stream("BidiStream")

    async def write() -> None:
        for n in range(wire.MESSAGES):
            await stream.write(f"message {n}".encode())
        await stream.done_writing()

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for n in range(wire.MESSAGES):
            answer = await stream.read()
            check(answer == f"message {n}".encode(), n, answer)
    check(await stream.read() is aio.EOF)


async def compression(client: Client) -> None:
    message = b"compressible " * 10_000
    check(await client.unary(message, client.call(("compress", "gzip")), gzip=True) == message)


async def deadline(client: Client) -> None:
    call = client.call()
    began_s = time.monotonic()
    stream = client.stream("Hold", call, wire.DEADLINE_S)
    await exchange(stream, b"held")
    await check_status(stream, StatusCode.DEADLINE_EXCEEDED)
    check(wire.DEADLINE_S * 0.9 < time.monotonic() - began_s < wire.DEADLINE_LATEST_S, time.monotonic() - began_s)
    await client.check_outcome(call, "cancelled")


async def cancel_before_headers(client: Client) -> None:
    call = client.call()
    stream = client.stream("Hold", call)
    stream.cancel()
    await check_status(stream, StatusCode.CANCELLED)
    await client.check_outcome(call, "unknown", "cancelled")


async def cancel_after_headers(client: Client) -> None:
    call = client.call()
    stream = client.stream("Hold", call)
    await stream.initial_metadata()
    await cancelled(client, call, stream)


async def cancel_mid_stream(client: Client) -> None:
    call = client.call()
    stream = client.stream("Hold", call)
    await exchange(stream, b"held", b"on")
    await cancelled(client, call, stream)


async def cancel_after_half_close(client: Client) -> None:
    call = client.call()
    stream = client.stream("Hold", call)
    await exchange(stream, b"held")
    await stream.done_writing()
    check(await stream.read() == b"half-closed")
    await cancelled(client, call, stream)


async def cancel_while_sending(client: Client) -> None:
    call = client.call()
    stream = client.stream("Ignore", call)

    async def write() -> None:
        try:
            while True:
                await stream.write(payload(wire.CHUNK_BYTES))
        except (asyncio.CancelledError, asyncio.InvalidStateError, aio.AioRpcError):
            pass  # the call is over

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        await stream.initial_metadata()
        await cancelled(client, call, stream)


async def cancel_while_receiving(client: Client) -> None:
    call = client.call(("count", str(wire.SLOW_CHUNKS)))
    stream = client.repeat(payload(wire.CHUNK_BYTES), call)
    check(await stream.read() == payload(wire.CHUNK_BYTES))
    await cancelled(client, call, stream)


async def cancelled(client: Client, call: Call, stream: Stream | aio.UnaryStreamCall[bytes, bytes]) -> None:
    stream.cancel()
    await check_status(stream, StatusCode.CANCELLED)
    await client.check_outcome(call, "cancelled")


async def metadata(client: Client) -> None:
    stream = client.stream("BidiStream", client.call(*wire.ECHOED))
    await exchange(stream, b"with metadata")
    wire.check_echoed(await stream.initial_metadata())
    check(("x-agentring-node", "hosted") in tuple(await stream.initial_metadata()))
    await finish(stream)
    wire.check_echoed(await stream.trailing_metadata())


async def status(client: Client) -> None:
    stream = client.repeat(b"one answer", client.call(*wire.failing(StatusCode.FAILED_PRECONDITION.value[0])), "Fail")
    check(await stream.read() == b"one answer")
    await check_failed(stream, StatusCode.FAILED_PRECONDITION)


async def trailers_only(client: Client) -> None:
    stream = client.stream("Abort", client.call(*wire.failing(StatusCode.PERMISSION_DENIED.value[0])))
    await check_failed(stream, StatusCode.PERMISSION_DENIED)


async def check_failed(stream: Stream | aio.UnaryStreamCall[bytes, bytes], expected: StatusCode) -> None:
    await check_status(stream, expected)
    check(await stream.details() == wire.STATUS_MESSAGE, await stream.details())
    wire.check_echoed(await stream.trailing_metadata())


async def slow_reader(client: Client) -> None:
    slow = client.repeat(payload(wire.CHUNK_BYTES), client.call(("count", str(wire.SLOW_CHUNKS))))
    check(await slow.read() == payload(wire.CHUNK_BYTES))

    async def neighbour() -> None:
        stream = client.stream("BidiStream")
        await exchange(stream, *(f"{n}".encode() for n in range(wire.ROUND_TRIPS)))
        await finish(stream)

    async with asyncio.TaskGroup() as group:
        for _ in range(wire.NEIGHBOURS):
            group.create_task(neighbour())
    for n in range(wire.SLOW_CHUNKS - 1):
        check(await slow.read() == payload(wire.CHUNK_BYTES), n)
    check(await slow.read() is aio.EOF)


async def many_streams(client: Client) -> None:
    streams = [client.stream("BidiStream") for _ in range(wire.STREAMS)]
    for n, stream in enumerate(streams):
        await exchange(stream, f"stream {n}".encode())
    await asyncio.gather(*(finish(stream) for stream in streams))


CASES: dict[str, Callable[[Client], Awaitable[None]]] = {
    "unary": unary,
    "client_stream": client_stream,
    "server_stream": server_stream,
    "bidi": bidi,
    "message_0B": partial(message_of, 0),
    "message_1B": partial(message_of, 1),
    "message_4MiB": partial(message_of, wire.LIMIT),
    "message_over_limit": message_over_limit,
    "bidi_10000": bidi_10000,
    "compression": compression,
    "deadline": deadline,
    "cancel_before_headers": cancel_before_headers,
    "cancel_after_headers": cancel_after_headers,
    "cancel_mid_stream": cancel_mid_stream,
    "cancel_after_half_close": cancel_after_half_close,
    "cancel_while_sending": cancel_while_sending,
    "cancel_while_receiving": cancel_while_receiving,
    "metadata": metadata,
    "status": status,
    "trailers_only": trailers_only,
    "slow_reader": slow_reader,
    "many_streams": many_streams,
}


async def run(case: Callable[[Client], Awaitable[None]], target: str, session: str) -> None:
    async with aio.insecure_channel(target, options=wire.CHANNEL_OPTIONS) as channel:
        await case(Client(channel, session))


def main() -> None:
    """Runs all of them on one event loop: grpc.aio keeps to the first that it has seen."""
    with asyncio.Runner() as runner:

        def blocking(case: Callable[[Client], Awaitable[None]]) -> Callable[[str, str], None]:
            return lambda target, session: runner.run(run(case, target, session))

        wire.lead({name: blocking(case) for name, case in CASES.items()})


if __name__ == "__main__":
    main()
