"""`python -m interop.python.sync_client`: the cases with grpcio's blocking calls. See wire.py for how it is led."""

import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from grpc import StatusCode

from . import wire
from .wire import Call, check, payload


class Stream:
    """A call with a stream each way, written to and read from at the case's pace."""

    def __init__(self, channel: grpc.Channel, method: str, call: Call, timeout_s: float) -> None:
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        send: Any = channel.stream_stream(wire.SERVICE + method)
        self.call: Any = send(iter(self._requests.get, None), metadata=call.metadata, timeout=timeout_s)

    def write(self, message: bytes) -> None:
        self._requests.put(message)

    def done_writing(self) -> None:
        self._requests.put(None)

    def exchange(self, *messages: bytes) -> None:
        """One after the other, each echoed before the next."""
        for message in messages:
            self.write(message)
            answer = next(self.call)
            check(answer == message, answer)

    def finish(self) -> None:
        self.done_writing()
        check(next(self.call, None) is None)
        check(self.call.code() is StatusCode.OK, self.call.code())


class Client:
    """A connection, and the calls on it."""

    def __init__(self, channel: grpc.Channel, session: str) -> None:
        self.channel = channel
        self.session = session

    def call(self, *more: tuple[str, str | bytes]) -> Call:
        return Call(self.session, *more)

    def unary(self, message: bytes, call: Call | None = None, method: str = "Unary", gzip: bool = False) -> bytes:
        send: Any = self.channel.unary_unary(wire.SERVICE + method)
        compression = grpc.Compression.Gzip if gzip else None
        metadata = (call or self.call()).metadata
        answer: bytes = send(message, metadata=metadata, timeout=wire.TIMEOUT_S, compression=compression)
        return answer

    def repeat(self, message: bytes, call: Call, method: str = "ServerStream") -> Any:
        send: Any = self.channel.unary_stream(wire.SERVICE + method)
        return send(message, metadata=call.metadata, timeout=wire.LONG_TIMEOUT_S)

    def stream(self, method: str, call: Call | None = None, timeout_s: float = wire.LONG_TIMEOUT_S) -> Stream:
        return Stream(self.channel, method, call or self.call(), timeout_s)

    def check_outcome(self, call: Call, *expected: str) -> None:
        outcome = self.unary(call.id.encode(), method="Outcome").decode()
        check(outcome in expected, outcome)


def check_status(call: Any, expected: StatusCode) -> None:
    """Reads to the end of the call."""
    try:
        for _ in call:
            pass
    except grpc.RpcError:
        pass  # its code is what is looked at
    check(call.code() is expected, call.code(), call.details())


def unary(client: Client) -> None:
    check(client.unary(b"one message") == b"one message")


def client_stream(client: Client) -> None:
    send: Any = client.channel.stream_unary(wire.SERVICE + "ClientStream")
    messages = [f"{n} ".encode() for n in range(100)]
    answer = send(iter(messages), metadata=client.call().metadata, timeout=wire.TIMEOUT_S)
    check(answer == b"".join(messages), answer)


def server_stream(client: Client) -> None:
    responses = list(client.repeat(b"again", client.call(("count", "100"))))
    check(responses == [b"again"] * 100, len(responses))


def bidi(client: Client) -> None:
    stream = client.stream("BidiStream")
    stream.exchange(*(f"{n}".encode() for n in range(100)))
    stream.finish()


def message_of(size: int, client: Client) -> None:
    check(client.unary(payload(size)) == payload(size))


def message_over_limit(client: Client) -> None:
    try:
        client.unary(payload(wire.LIMIT + 1))
    except grpc.RpcError as raised:
        error: Any = raised
        check(error.code() is StatusCode.RESOURCE_EXHAUSTED, error)
        check(b"MESSAGE_TOO_LARGE" in dict(error.trailing_metadata()).get(wire.STATUS_DETAILS, b""), error)
    else:
        check(False, "it went through")
    unary(client)


def bidi_10000(client: Client) -> None:
    messages = [f"message {n}".encode() for n in range(wire.MESSAGES)]
    send: Any = client.channel.stream_stream(wire.SERVICE + "BidiStream")
    # grpcio writes from a thread of its own while this one reads.
    responses = list(send(iter(messages), metadata=client.call().metadata, timeout=wire.LONG_TIMEOUT_S))
    check(responses == messages, len(responses))


def compression(client: Client) -> None:
    message = b"compressible " * 10_000
    check(client.unary(message, client.call(("compress", "gzip")), gzip=True) == message)


def deadline(client: Client) -> None:
    call = client.call()
    began_s = time.monotonic()
    stream = client.stream("Hold", call, wire.DEADLINE_S)
    stream.exchange(b"held")
    check_status(stream.call, StatusCode.DEADLINE_EXCEEDED)
    check(wire.DEADLINE_S * 0.9 < time.monotonic() - began_s < wire.DEADLINE_LATEST_S, time.monotonic() - began_s)
    stream.done_writing()
    client.check_outcome(call, "cancelled")


def cancel_before_headers(client: Client) -> None:
    cancelled(client, client.call(), lambda _stream: None, "unknown", "cancelled")


def cancel_after_headers(client: Client) -> None:
    cancelled(client, client.call(), lambda stream: stream.call.initial_metadata())


def cancel_mid_stream(client: Client) -> None:
    cancelled(client, client.call(), lambda stream: stream.exchange(b"held", b"on"))


def cancel_after_half_close(client: Client) -> None:
    def reach(stream: Stream) -> None:
        stream.exchange(b"held")
        stream.done_writing()
        check(next(stream.call) == b"half-closed")

    cancelled(client, client.call(), reach)


def cancel_while_sending(client: Client) -> None:
    def reach(stream: Stream) -> None:
        for _ in range(wire.SLOW_CHUNKS):
            stream.write(payload(wire.CHUNK_BYTES))
        stream.call.initial_metadata()

    cancelled(client, client.call(), reach, method="Ignore")


def cancelled(
    client: Client, call: Call, reach: Callable[[Stream], object], *outcomes: str, method: str = "Hold"
) -> None:
    """Cancels once the call has reached some stage."""
    stream = client.stream(method, call)
    reach(stream)
    stream.call.cancel()
    check_status(stream.call, StatusCode.CANCELLED)
    stream.done_writing()
    client.check_outcome(call, *(outcomes or ("cancelled",)))


def cancel_while_receiving(client: Client) -> None:
    call = client.call(("count", str(wire.SLOW_CHUNKS)))
    stream = client.repeat(payload(wire.CHUNK_BYTES), call)
    check(next(stream) == payload(wire.CHUNK_BYTES))
    stream.cancel()
    check_status(stream, StatusCode.CANCELLED)
    client.check_outcome(call, "cancelled")


def metadata(client: Client) -> None:
    stream = client.stream("BidiStream", client.call(*wire.ECHOED))
    stream.exchange(b"with metadata")
    wire.check_echoed(stream.call.initial_metadata())
    check(("x-agentring-node", "hosted") in tuple(stream.call.initial_metadata()))
    stream.finish()
    wire.check_echoed(stream.call.trailing_metadata())


def status(client: Client) -> None:
    call = client.call(*wire.failing(StatusCode.FAILED_PRECONDITION.value[0]))
    stream = client.repeat(b"one answer", call, "Fail")
    check(next(stream) == b"one answer")
    check_failed(stream, StatusCode.FAILED_PRECONDITION)


def trailers_only(client: Client) -> None:
    stream = client.stream("Abort", client.call(*wire.failing(StatusCode.PERMISSION_DENIED.value[0])))
    check_failed(stream.call, StatusCode.PERMISSION_DENIED)
    stream.done_writing()


def check_failed(call: Any, expected: StatusCode) -> None:
    check_status(call, expected)
    check(call.details() == wire.STATUS_MESSAGE, call.details())
    wire.check_echoed(call.trailing_metadata())


def slow_reader(client: Client) -> None:
    slow: Iterator[bytes] = client.repeat(payload(wire.CHUNK_BYTES), client.call(("count", str(wire.SLOW_CHUNKS))))
    check(next(slow) == payload(wire.CHUNK_BYTES))

    def neighbour(_n: int) -> None:
        stream = client.stream("BidiStream")
        stream.exchange(*(f"{n}".encode() for n in range(wire.ROUND_TRIPS)))
        stream.finish()

    with ThreadPoolExecutor(wire.NEIGHBOURS) as threads:
        list(threads.map(neighbour, range(wire.NEIGHBOURS)))
    rest = list(slow)
    check(rest == [payload(wire.CHUNK_BYTES)] * (wire.SLOW_CHUNKS - 1), len(rest))


def many_streams(client: Client) -> None:
    streams = [client.stream("BidiStream") for _ in range(wire.STREAMS)]
    for n, stream in enumerate(streams):
        stream.exchange(f"stream {n}".encode())
    for stream in streams:
        stream.finish()


CASES: dict[str, Callable[[Client], None]] = {
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


def run(case: Callable[[Client], None], target: str, session: str) -> None:
    with grpc.insecure_channel(target, options=wire.CHANNEL_OPTIONS) as channel:
        case(Client(channel, session))


if __name__ == "__main__":
    wire.lead({name: partial(run, case) for name, case in CASES.items()})
