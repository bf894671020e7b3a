"""A call of our own services leaves nothing for the garbage collector once it has ended."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.frames import Code
from agentring.http2.limits import Limits
from agentring.rpc.call_tasks import CallTasks
from agentring.rpc.inbox import Inbox
from agentring.rpc.service import methods
from agentring.rpc.service_connection import ServerContext, ServiceConnection
from agentring.rpc.service_stream import ServiceStream
from harness.http2_raw import drain, feed
from harness.http2_services import RECORDED, SERVICE, Sessions

KINDS = (ServiceStream, Inbox)
RST = frames.rst_stream(5, Code.CANCEL)


class Garbage:
    """What was made since, and is there still."""

    def __init__(self) -> None:
        gc.collect()
        self._before = self._found()

    def left(self) -> list[str]:
        """The names of their classes."""
        before = set(map(id, self._before))
        return [type(each).__name__ for each in self._found() if id(each) not in before]

    def _found(self) -> list[object]:
        """Asks no object what it is: other tests' may have an answer of their own."""
        return [each for each in gc.get_objects() if issubclass(type(each), KINDS)]


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    """As of now, other tests' services having some of their own; no collector runs."""
    gc.disable()
    yield Garbage()
    gc.enable()


ONE_REQUEST, REQUESTS = RECORDED[:5], RECORDED[9:15]
TRAILERS = b"grpc-status\x010"


@pytest.mark.parametrize(("conversation", "answered"), [(REQUESTS, 2), ([*REQUESTS[:2], RST], 1)])
async def test_calls_that_have_ended_are_gone(garbage: Garbage, conversation: list[bytes], answered: int) -> None:
    loop = asyncio.get_running_loop()
    tasks = CallTasks(methods(SERVICE, Sessions()), loop, first_frame_timeout_s=60)
    context = ServerContext("node", Limits(), Budget(1 << 20), loop, tasks.begin)
    connection = ServiceConnection(context, loop.time(), lambda: None)
    sent = b""
    for each in [*ONE_REQUEST, *conversation]:
        feed(connection, each, loop.time())
        sent += drain(connection)
    for _ in range(20):
        await asyncio.sleep(0)
        sent += drain(connection)
    assert (sent.count(TRAILERS), len(tasks), garbage.left()) == (answered, 0, [])
