"""What a service's object may rely on, and what its clients see, over real connections within the test's process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from google.protobuf.message import Message
from grpc import StatusCode, aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from agentring.errors import (
    AgentNotFound,
    AgentringError,
    FirstFrameTimeout,
    InternalError,
    MalformedRequest,
    MessageTooLarge,
    MetadataTooLarge,
    MethodNotImplemented,
    NodeDraining,
    NotOwner,
    ResumeOffsetExpired,
    ServiceNotFound,
    SessionNotFound,
)
from agentring.http2.listener import CannotListen
from agentring.rpc.limits import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES
from agentring.rpc.server import Server
from agentring.rpc.service import Call
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import (
    ConverseRequest,
    ConverseResponse,
    GetSessionRequest,
    GetSessionResponse,
    RunTurnRequest,
    RunTurnResponse,
)
from harness.client import connect
from harness.raw import (
    SESSIONS,
    assert_refused,
    assert_stream_refused,
    converse,
    exchange,
    open_stream,
    read_details,
    status_of,
)

PATIENCE_S = 20.0
SECRET = "the-handlers-own-words-0451"
DESCRIPTOR = session_pb2.DESCRIPTOR.services_by_name["SessionService"]
GET, RUN, CONVERSE = (SESSIONS + name for name in ("GetSession", "RunTurn", "Converse"))

Handler = Callable[[Any, Call], Awaitable[Message | None]]


class Sessions:
    """A SessionService of three methods, each of which does what the test says."""

    def __init__(self) -> None:
        self.get: Handler = _unexpected
        self.run: Handler = _unexpected
        self.converse: Handler = _unexpected

    async def GetSession(self, request: GetSessionRequest, call: Call) -> Message | None:
        return await self.get(request, call)

    async def RunTurn(self, request: RunTurnRequest, call: Call) -> None:
        await self.run(request, call)

    async def Converse(self, requests: AsyncIterator[ConverseRequest], call: Call) -> None:
        await self.converse(requests, call)


async def _unexpected(*_: object) -> None:
    raise AssertionError("not to be called")


@asynccontextmanager
async def serving(
    sessions: Sessions, address: str = "127.0.0.1:0", *, first_frame_timeout_s: float = 60.0
) -> AsyncIterator[tuple[Server, aio.Channel]]:
    server = Server(address, {DESCRIPTOR: sessions}, first_frame_timeout_s=first_frame_timeout_s)
    await server.start()
    try:
        async with connect(server.address) as channel:
            yield server, channel
    finally:
        await server.stop(0)


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
async def channel(sessions: Sessions) -> AsyncIterator[aio.Channel]:
    """To a server of `sessions`; it must still be serving when the test is over."""
    async with serving(sessions) as (_, channel):
        yield channel
        sessions.get = answers(GetSessionResponse())
        assert await told(exchange(channel, GET, GetSessionRequest())) == [b""]


def answers(response: Message | None) -> Handler:
    async def handle(_request: object, _call: Call) -> Message | None:
        return response

    return handle


def raises(error: BaseException) -> Handler:
    async def handle(_request: object, _call: Call) -> None:
        raise error

    return handle


async def told(call: Any) -> list[bytes]:
    """All that a call is told, which ends with OK."""
    return [message async for message in call]


def response(seq: int, text: str = "") -> ConverseResponse:
    event = session_pb2.Event(seq=seq, text_delta=session_pb2.TextDelta(text=text))
    return ConverseResponse(through_seq=seq, acked_frame=0, events=[event])


# What goes through


async def test_a_unary_call_is_answered(sessions: Sessions, channel: aio.Channel) -> None:
    seen = []

    async def get(request: GetSessionRequest, call: Call) -> GetSessionResponse:
        seen.append((request.session_id, call.metadata["x-session-id"]))
        return GetSessionResponse(session=session_pb2.Session(session_id=request.session_id))

    sessions.get = get
    unary: Any = channel.unary_unary(GET)
    raw = await unary(GetSessionRequest(session_id="s").SerializeToString(), metadata=(("x-session-id", "s"),))
    assert GetSessionResponse.FromString(raw).session.session_id == "s"
    assert seen == [("s", "s")]


async def test_a_server_stream_tells_each_response_after_accepting(sessions: Sessions, channel: aio.Channel) -> None:
    accepted = asyncio.Event()
    sent: asyncio.Event = asyncio.Event()

    async def run(request: RunTurnRequest, call: Call) -> None:
        await call.accept(("x-agentring-node", "n1"))
        await accepted.wait()
        for seq in (1, 2):
            await call.send(RunTurnResponse(through_seq=seq, acked_frame=0))
        sent.set()

    sessions.run = run
    call = exchange(channel, RUN, RunTurnRequest(session_id="s"))
    initial = await call.initial_metadata()
    assert ("x-agentring-node", "n1") in tuple(initial or ())
    assert not sent.is_set()
    accepted.set()
    assert [RunTurnResponse.FromString(raw).through_seq for raw in await told(call)] == [1, 2]


async def test_both_sides_of_a_stream_are_independent(sessions: Sessions, channel: aio.Channel) -> None:
    async def echo(requests: AsyncIterator[ConverseRequest], call: Call) -> None:
        seq = 0
        async for request in requests:
            seq += 1
            await call.send(response(seq, request.turn.input.text))
        await call.send(response(99, "half closed"))

    sessions.converse = echo
    stream: Any = channel.stream_stream(CONVERSE)(timeout=PATIENCE_S)
    for text in ("one", "two"):
        turn = session_pb2.Turn(input=session_pb2.Input(text=text))
        await stream.write(ConverseRequest(turn=turn).SerializeToString())
        (event,) = ConverseResponse.FromString(await stream.read()).events
        assert event.text_delta.text == text
    await stream.done_writing()
    (event,) = ConverseResponse.FromString(await stream.read()).events
    assert event.text_delta.text == "half closed"
    assert await stream.read() is aio.EOF
    assert await stream.code() is StatusCode.OK


async def test_metadata_are_text_by_name(sessions: Sessions, channel: aio.Channel) -> None:
    seen: dict[str, str] = {}

    async def get(_request: GetSessionRequest, call: Call) -> GetSessionResponse:
        seen.update(call.metadata)
        return GetSessionResponse()

    sessions.get = get
    unary: Any = channel.unary_unary(GET)
    await unary(b"", metadata=(("x-a", "1"), ("x-b-bin", b"\x00\xff")))
    assert seen["x-a"] == "1"
    assert "x-b-bin" not in seen


async def test_a_stream_may_be_opened_without_a_message(sessions: Sessions, channel: aio.Channel) -> None:
    async def count(requests: AsyncIterator[ConverseRequest], call: Call) -> None:
        await call.send(response(len([request async for request in requests])))

    sessions.converse = count
    (raw,) = await told(converse(channel, []))
    assert ConverseResponse.FromString(raw).through_seq == 0


# What is refused


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x0a\x02\xff\xff", b"\x0a\x05ab", b"\x0b"])
async def test_garbage_is_malformed(sessions: Sessions, channel: aio.Channel, garbage: bytes) -> None:
    """And no method of the object is called with it."""
    for method in (GET, RUN):
        await assert_refused(exchange(channel, method, garbage), MalformedRequest())
    got: list[object] = []

    async def drain(requests: AsyncIterator[ConverseRequest], call: Call) -> None:
        async for request in requests:
            got.append(request)
            await call.send(response(1))

    sessions.converse = drain
    await assert_stream_refused(channel, [garbage], MalformedRequest())
    assert got == []
    await assert_stream_refused(channel, [ConverseRequest(), garbage], MalformedRequest())
    assert got[-1] == ConverseRequest()


@pytest.mark.parametrize("method", [GET, RUN])
async def test_a_call_that_needs_a_message_and_gets_none_is_malformed(channel: aio.Channel, method: str) -> None:
    await assert_refused(converse(channel, [], method=method), MalformedRequest())


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        TimeoutError(SECRET),
        StopAsyncIteration(SECRET),
        asyncio.CancelledError(SECRET),
        ExceptionGroup(SECRET, [SessionNotFound(), ValueError(SECRET)]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("method", [GET, RUN, CONVERSE])
async def test_a_fault_is_told_by_an_id_and_logged_under_it(
    sessions: Sessions, channel: aio.Channel, method: str, error: BaseException
) -> None:
    sessions.get = sessions.run = sessions.converse = raises(error)
    with structlog.testing.capture_logs() as logged:
        ended = await status_of(exchange(channel, method, b""))
    info, retry_after_s = read_details(ended)
    assert (ended.code(), info.reason, retry_after_s) == (StatusCode.INTERNAL, "INTERNAL", None)
    assert ended.details() == InternalError("").sentence
    assert list(info.metadata) == ["error_id"]
    (entry,) = [each for each in logged if each["event"] == "call_failed"]
    assert entry["error_id"] == info.metadata["error_id"]
    assert entry["method"].endswith(method.rpartition("/")[2])
    assert entry["exc_info"]
    assert (
        SECRET not in f"{ended!r} {ended.debug_error_string()} {ended.trailing_metadata()} {ended.initial_metadata()}"
    )


async def test_a_fault_after_some_responses_ends_the_stream_after_them(
    sessions: Sessions, channel: aio.Channel
) -> None:
    async def run(_request: RunTurnRequest, call: Call) -> None:
        await call.send(RunTurnResponse(through_seq=1, acked_frame=0))
        raise KeyError(SECRET)

    sessions.run = run
    call = exchange(channel, RUN, b"")
    first = await call.read()
    assert isinstance(first, bytes)
    assert RunTurnResponse.FromString(first).through_seq == 1
    ended = await status_of(call)
    assert ended.code() is StatusCode.INTERNAL
    read_details(ended)


async def test_a_method_that_cancels_its_own_task_is_a_fault(sessions: Sessions, channel: aio.Channel) -> None:
    async def get(_request: GetSessionRequest, _call: Call) -> GetSessionResponse:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return GetSessionResponse()

    sessions.get = get
    with structlog.testing.capture_logs() as logged:
        ended = await status_of(exchange(channel, GET, b""))
    info = read_details(ended)[0]
    assert (ended.code(), info.reason) == (StatusCode.INTERNAL, "INTERNAL")
    assert [each["error_id"] for each in logged if each["event"] == "call_failed"] == [info.metadata["error_id"]]


async def test_an_error_whose_fields_are_no_utf_8_is_told_all_the_same(
    sessions: Sessions, channel: aio.Channel
) -> None:
    sessions.get = raises(AgentNotFound("half\ud83d"))
    info = read_details(await status_of(exchange(channel, GET, b"")))[0]
    assert (info.reason, dict(info.metadata)) == (AgentNotFound("").reason, {"agent": "half?"})


async def test_no_response_at_all_is_a_fault(sessions: Sessions, channel: aio.Channel) -> None:
    sessions.get = answers(None)
    ended = await status_of(exchange(channel, GET, b""))
    assert read_details(ended)[0].reason == "INTERNAL"


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFound(),
        NodeDraining(),
        AgentNotFound("no such agent\N{GRINNING FACE}\n"),
        NotOwner("n2", "10.0.0.2:7000", 2**62),
        NotOwner("n2", "no\nheader\N{GRINNING FACE}", 1),
        ResumeOffsetExpired(oldest_seq=3, head_seq=9),
    ],
)
@pytest.mark.parametrize("method", [GET, RUN, CONVERSE])
async def test_an_error_of_ours_is_told_as_it_is(
    sessions: Sessions, channel: aio.Channel, method: str, error: AgentringError
) -> None:
    sessions.get = sessions.run = sessions.converse = raises(error)
    with structlog.testing.capture_logs() as logged:
        await assert_refused(exchange(channel, method, b""), error)
    assert logged == []


@pytest.mark.parametrize(
    "method",
    [SESSIONS + "CloseSession", SESSIONS + "Unheard", "/agentring.v1.TaskService/RunTask", "/a/b", "/", "/x/y/z"],
)
async def test_what_is_not_served_is_unimplemented(channel: aio.Channel, method: str) -> None:
    await assert_refused(exchange(channel, method, b"\xff\xff"), MethodNotImplemented())
    await assert_stream_refused(channel, [b"", b"x"], MethodNotImplemented(), method=method)


async def test_too_many_metadata_are_refused(sessions: Sessions, channel: aio.Channel) -> None:
    sessions.get = answers(GetSessionResponse())
    unary: Any = channel.unary_unary(GET)
    room = MAX_METADATA_BYTES - 1_024  # for what every call carries
    assert await unary(b"", metadata=(("x-filler", "a" * room),)) == b""
    for filler in ((("x-filler", "a" * MAX_METADATA_BYTES),), tuple((f"x-{i}", "") for i in range(300))):
        await assert_refused(exchange(channel, GET, b"", metadata=filler), MetadataTooLarge())
        await assert_stream_refused(channel, [b""], MetadataTooLarge(), metadata=filler)


async def test_a_message_of_a_mebibyte_goes_through_and_no_larger_one(sessions: Sessions, channel: aio.Channel) -> None:
    def sized(length: int) -> bytes:
        message = GetSessionRequest(session_id="x" * (length - 4)).SerializeToString()
        assert len(message) == length
        return message

    sessions.get = answers(GetSessionResponse())
    assert await told(exchange(channel, GET, sized(MAX_MESSAGE_BYTES))) == [b""]
    await assert_refused(exchange(channel, GET, sized(MAX_MESSAGE_BYTES + 1)), MessageTooLarge())
    await assert_refused(exchange(channel, GET, b"\xff" * (MAX_MESSAGE_BYTES + 1)), MessageTooLarge())

    async def drain(requests: AsyncIterator[ConverseRequest], _call: Call) -> None:
        async for _ in requests:
            pass

    sessions.converse = drain
    await assert_stream_refused(channel, [b"", b"\xff" * (MAX_MESSAGE_BYTES + 1)], MessageTooLarge())


@pytest.mark.parametrize("method", [GET, RUN, CONVERSE, SESSIONS + "Unheard"])
async def test_a_call_that_is_opened_and_silent_is_ended(sessions: Sessions, method: str) -> None:
    async with serving(sessions, first_frame_timeout_s=0.1) as (_, channel):
        await assert_refused(open_stream(channel, method=method), FirstFrameTimeout())


async def test_a_stream_that_has_spoken_may_be_silent_for_longer(sessions: Sessions) -> None:
    released = asyncio.Event()

    async def wait(requests: AsyncIterator[ConverseRequest], call: Call) -> None:
        await anext(aiter(requests))
        await call.accept()
        waited = asyncio.ensure_future(anext(aiter(requests)))
        await asyncio.wait([waited], timeout=0.2)
        assert not waited.done()
        released.set()
        await waited
        await call.send(response(1))

    sessions.converse = wait
    async with serving(sessions, first_frame_timeout_s=0.1) as (_, channel):
        stream: Any = channel.stream_stream(CONVERSE)(timeout=PATIENCE_S)
        await stream.write(b"")
        await released.wait()
        await stream.write(b"")
        assert ConverseResponse.FromString(await stream.read()).through_seq == 1
        stream.cancel()


# Cancellation


class Watched:
    """A handler of a stream that tells when it has begun and how it ended."""

    def __init__(self, body: Callable[[Any, Call], Awaitable[None]]) -> None:
        self._body = body
        self.begun = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self, request: Any, call: Call) -> None:
        self.begun.set()
        try:
            await self._body(request, call)
        except BaseException as error:
            self.ended.set_result(type(error).__name__)
            raise
        self.ended.set_result("returned")


async def _read_all(requests: AsyncIterator[ConverseRequest], _call: Call) -> None:
    async for _ in requests:
        pass
    await asyncio.Event().wait()  # a half-close would end up here too


async def _work(_requests: object, call: Call) -> None:
    await call.accept()
    await asyncio.Event().wait()


async def _flood(_requests: object, call: Call) -> None:
    while True:
        await call.send(response(1, "x" * 100_000))


@pytest.mark.parametrize("body", [_read_all, _work, _flood])
async def test_a_cancelled_stream_reaches_its_handler(
    sessions: Sessions, channel: aio.Channel, body: Callable[[Any, Call], Awaitable[None]]
) -> None:
    """Whether it waits for the client, for something else, or for a client that does not read."""
    handler = sessions.converse = Watched(body)
    with structlog.testing.capture_logs() as logged:
        stream: Any = channel.stream_stream(CONVERSE)(timeout=PATIENCE_S)
        await stream.write(b"")
        async with asyncio.timeout(PATIENCE_S):
            await handler.begun.wait()
            stream.cancel()
            assert await handler.ended == "CancelledError"
    assert logged == []


async def test_a_deadline_reaches_the_handler_as_its_cancellation(sessions: Sessions, channel: aio.Channel) -> None:
    handler = sessions.run = Watched(_work)
    ended = await status_of(exchange(channel, RUN, b"", timeout_s=0.2))
    assert ended.code() is StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(PATIENCE_S):
        assert await handler.ended == "CancelledError"


async def test_a_handler_waits_while_the_client_does_not_read(sessions: Sessions, channel: aio.Channel) -> None:
    sent = 0
    stuck = asyncio.Event()

    async def flood(_request: RunTurnRequest, call: Call) -> None:
        nonlocal sent
        for _ in range(200):
            sending = asyncio.ensure_future(call.send(response(1, "x" * 100_000)))
            await asyncio.wait([sending], timeout=0.2)
            if not sending.done():
                stuck.set()
            await sending
            sent += 1

    sessions.run = flood
    call = exchange(channel, RUN, b"")
    async with asyncio.timeout(PATIENCE_S):
        await stuck.wait()
        assert sent < 200
        assert len(await told(call)) == 200


# The server


async def test_a_stopping_server_lets_calls_end_within_its_grace(sessions: Sessions) -> None:
    released = asyncio.Event()

    async def run(_request: RunTurnRequest, call: Call) -> None:
        await call.accept()
        await released.wait()
        await call.send(RunTurnResponse(through_seq=1, acked_frame=0))

    sessions.run = run
    async with serving(sessions) as (server, channel):
        call = exchange(channel, RUN, b"")
        await call.initial_metadata()
        stopping = asyncio.create_task(server.stop(PATIENCE_S))
        await asyncio.sleep(0)
        released.set()
        assert len(await told(call)) == 1
        async with asyncio.timeout(PATIENCE_S):
            await stopping


async def test_a_stopping_server_cancels_what_outlasts_its_grace(sessions: Sessions) -> None:
    handler = sessions.run = Watched(_work)
    async with serving(sessions) as (server, channel):
        call = exchange(channel, RUN, b"")
        await call.initial_metadata()
        async with asyncio.timeout(PATIENCE_S):
            await server.stop(0)
            assert await handler.ended == "CancelledError"
        assert (await status_of(call)).code() in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)


async def test_nothing_is_left_running(sessions: Sessions) -> None:
    sessions.get = answers(GetSessionResponse())
    before = asyncio.all_tasks()
    async with serving(sessions) as (_, channel):
        await told(exchange(channel, GET, b""))
        await status_of(exchange(channel, GET, b"\xff"))
        sessions.get = raises(ValueError(SECRET))
        await status_of(exchange(channel, GET, b""))
    async with asyncio.timeout(PATIENCE_S):
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)


async def test_it_serves_on_a_unix_socket(sessions: Sessions, tmp_path: Path) -> None:
    sessions.get = answers(GetSessionResponse())
    address = f"unix:{tmp_path / 's'}"
    async with serving(sessions, address) as (server, channel):
        assert server.address == address
        assert await told(exchange(channel, GET, b"")) == [b""]


async def test_its_address_has_the_port_that_it_was_given(sessions: Sessions) -> None:
    async with serving(sessions) as (server, _):
        host, _, port = server.address.rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0
        with pytest.raises(CannotListen, match=f"cannot listen on {server.address}"):
            Server(server.address, {}, first_frame_timeout_s=1)


async def test_an_address_that_is_nobodys_cannot_be_listened_on() -> None:
    with pytest.raises(CannotListen):
        Server("203.0.113.1:0", {}, first_frame_timeout_s=1)


def health(channel: aio.Channel, service: str = "", *, method: str = "Check") -> Any:
    return exchange(channel, f"/grpc.health.v1.Health/{method}", HealthCheckRequest(service=service))


async def test_health_is_what_the_process_says(sessions: Sessions) -> None:
    async with serving(sessions) as (server, channel):
        for service in ("", "agentring.v1.SessionService"):
            for serving_now, status in (
                (False, HealthCheckResponse.NOT_SERVING),
                (True, HealthCheckResponse.SERVING),
                (False, HealthCheckResponse.NOT_SERVING),
            ):
                server.set_condition(serving_now, coordinated=True, sessions=False)
                (raw,) = await told(health(channel, service))
                assert HealthCheckResponse.FromString(raw).status == status
        await assert_refused(health(channel, "agentring.v1.TaskService"), ServiceNotFound())
        await assert_refused(exchange(channel, "/grpc.health.v1.Health/Check", b"\xff"), MalformedRequest())


async def test_it_is_not_serving_until_the_process_says_so(sessions: Sessions) -> None:
    async with serving(sessions) as (_, channel):
        (raw,) = await told(health(channel))
        assert HealthCheckResponse.FromString(raw).status == HealthCheckResponse.NOT_SERVING


async def test_a_watcher_of_health_is_told_of_each_change_and_of_no_other(sessions: Sessions) -> None:
    async with serving(sessions) as (server, channel), asyncio.timeout(PATIENCE_S):
        watching = aiter(health(channel, method="Watch"))

        async def status() -> int:
            return HealthCheckResponse.FromString(await anext(watching)).status

        assert await status() == HealthCheckResponse.NOT_SERVING
        server.set_condition(False, coordinated=True, sessions=False)
        server.set_condition(True, coordinated=True, sessions=True)
        assert await status() == HealthCheckResponse.SERVING
        server.set_condition(True, coordinated=True, sessions=True)
        server.set_condition(False, coordinated=True, sessions=False)
        assert await status() == HealthCheckResponse.NOT_SERVING
        unknown = aiter(health(channel, "unheard", method="Watch"))
        assert HealthCheckResponse.FromString(await anext(unknown)).status == HealthCheckResponse.SERVICE_UNKNOWN


async def test_reflection_lists_what_is_served_and_what_it_is_told_to(sessions: Sessions) -> None:
    server = Server(
        "127.0.0.1:0", {DESCRIPTOR: sessions}, first_frame_timeout_s=60, reflected=["agentring.v1.TaskService"]
    )
    await server.start()
    try:
        async with connect(server.address) as channel:
            method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
            (raw,) = await told(converse(channel, [ServerReflectionRequest(list_services="")], method=method))
    finally:
        await server.stop(0)
    listed = ServerReflectionResponse.FromString(raw).list_services_response.service
    assert [each.name for each in listed] == [
        "agentring.v1.SessionService",
        "agentring.v1.TaskService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
