"""A response's headers travel with its first message, and go alone where none comes soon."""

import asyncio
from collections.abc import Awaitable, Callable

from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.hpack import block
from agentring.http2.limits import Limits
from agentring.rpc.call_tasks import CallTasks
from agentring.rpc.service import Call, methods
from agentring.rpc.service_connection import ServerContext, ServiceConnection
from agentring.v1 import session_pb2
from harness.byte_client import request_fields
from harness.http2_frames import message, opening
from harness.http2_raw import drain, feed
from harness.http2_services import RUN, SERVICE

ACCEPTED = b"x-agentring-node"
ROUNDS = 4

Run = Callable[[Call], Awaitable[None]]


class Sessions:
    def __init__(self, run: Run) -> None:
        self._run = run

    async def RunTurn(self, _request: object, call: Call) -> None:
        await self._run(call)


def asked(run: Run) -> tuple[ServiceConnection, list[bytes]]:
    """A connection on which RunTurn was asked for, and what is there to write each time that it asks for a write."""
    loop = asyncio.get_running_loop()
    tasks = CallTasks(methods(SERVICE, Sessions(run)), loop, first_frame_timeout_s=60)
    writes: list[bytes] = []
    context = ServerContext("node", Limits(), Budget(1 << 20), loop, tasks.begin)

    def wake() -> None:
        loop.call_soon(lambda: writes.append(drain(connection)))

    connection = ServiceConnection(context, loop.time(), wake)
    headers = frames.headers(1, block(request_fields(RUN)), end_stream=False)
    request = frames.data(1, message(b""), end_stream=True)
    feed(connection, opening() + headers + request, loop.time())
    return connection, writes


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_headers_wait_for_a_message_that_follows_some_rounds_later() -> None:
    async def run(call: Call) -> None:
        await call.accept(("x-agentring-node", "n1"))
        await rounds(ROUNDS - 1)
        await call.send(session_pb2.RunTurnResponse(through_seq=7))

    _, writes = asked(run)
    await rounds(3 * ROUNDS)
    (answer,) = [write for write in writes if ACCEPTED in write]
    assert message(session_pb2.RunTurnResponse(through_seq=7).SerializeToString()) in answer
    assert b"grpc-status" in answer


async def test_headers_go_alone_where_no_message_follows() -> None:
    async def run(call: Call) -> None:
        await call.accept(("x-agentring-node", "n1"))
        await asyncio.Event().wait()

    connection, writes = asked(run)
    await rounds(2 + ROUNDS + 1)
    assert len([write for write in writes if ACCEPTED in write]) == 1
    connection.socket_lost()


async def test_an_error_after_acceptance_comes_after_the_headers() -> None:
    async def run(call: Call) -> None:
        await call.accept(("x-agentring-node", "n1"))
        raise RuntimeError

    _, writes = asked(run)
    await rounds(3 * ROUNDS)
    (answer,) = [write for write in writes if ACCEPTED in write]
    assert answer.index(ACCEPTED) < answer.index(b"grpc-status\x0213")


async def test_who_leaves_before_is_sent_no_headers() -> None:
    async def run(call: Call) -> None:
        await call.accept(("x-agentring-node", "n1"))
        await asyncio.Event().wait()

    connection, writes = asked(run)
    await rounds(2)
    feed(connection, frames.rst_stream(1, frames.Code.CANCEL), 0.0)
    await rounds(3 * ROUNDS)
    assert [write for write in writes if ACCEPTED in write] == []


async def test_headers_that_cannot_be_said_are_an_error_with_headers_of_its_own() -> None:
    async def run(call: Call) -> None:
        await call.accept(("x-agentring-node", "\ud800"))

    _, writes = asked(run)
    await rounds(3 * ROUNDS)
    (answer,) = [write for write in writes if b"grpc-status" in write]
    assert answer.index(b"application/grpc") < answer.index(b"grpc-status\x0213")


async def test_headers_of_a_call_that_nobody_else_accompanies_leave_within_their_rounds_each() -> None:
    """Whenever a call comes: while others wait, and once none does."""

    async def run(call: Call) -> None:
        await call.accept(("x-agentring-node", "n1"))
        await asyncio.Event().wait()

    calls = []
    for apart in (0, 1, 2, ROUNDS, 3 * ROUNDS):
        await rounds(apart)
        calls.append(asked(run))
    await rounds(2 + ROUNDS + 1)
    assert [len([write for write in writes if ACCEPTED in write]) for _, writes in calls] == [1] * len(calls)
    for connection, _ in calls:
        connection.socket_lost()
