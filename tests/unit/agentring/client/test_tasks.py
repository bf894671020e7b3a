"""What a client's words become when it asks for a task."""

import asyncio

from grpc import aio

from agentring.client import Disposition, Usage, connect, sync
from agentring.v1 import session_pb2, task_pb2
from agentring.v1.task_pb2_grpc import TaskServiceServicer, add_TaskServiceServicer_to_server

USED = session_pb2.Usage(input_tokens=2**60, output_tokens=3, cached_tokens=1, model_calls=2)


class Noting(TaskServiceServicer):
    """Writes down what it is asked for, and completes it at once."""

    def __init__(self) -> None:
        self.asked: list[task_pb2.RunTaskRequest] = []

    async def RunTask(self, request, context):  # type: ignore[no-untyped-def]
        self.asked.append(request)
        end = session_pb2.Event(seq=1, turn_completed=session_pb2.TurnCompleted(usage=USED))
        yield task_pb2.RunTaskResponse(
            through_seq=1, acked_frame=1, events=[end], disposition=task_pb2.DISPOSITION_STARTED
        )


async def test_a_task_can_be_asked_for_that_is_cancelled_when_nobody_watches() -> None:
    server, noting = aio.server(), Noting()  # type: ignore[abstract]
    add_TaskServiceServicer_to_server(noting, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with connect(address) as ring:
            assert (await ring.run_task("a", agent="echo")).usage == Usage(2**53, 3, 1, 2)
            await ring.run_task("a", agent="echo", cancel_when_unwatched=True)
            await ring.task("a", agent="echo", cancel_when_unwatched=True).outcome()

        def at_once() -> None:
            with sync.connect(address) as ring:
                ring.run_task("a", agent="echo", cancel_when_unwatched=True)
                list(ring.task("a", agent="echo", cancel_when_unwatched=True))

        await asyncio.to_thread(at_once)
    finally:
        await server.stop(0)
    assert [request.cancel_when_unwatched for request in noting.asked] == [False, True, True, True, True]


class Full(TaskServiceServicer):
    """Accepts a task, for which there is no place to run."""

    async def RunTask(self, request, context):  # type: ignore[no-untyped-def]
        yield task_pb2.RunTaskResponse(through_seq=0, acked_frame=1, disposition=task_pb2.DISPOSITION_STARTED)
        await asyncio.Event().wait()


async def test_a_task_is_submitted_once_it_is_accepted_though_it_waits_for_a_place() -> None:
    server, full = aio.server(), Full()  # type: ignore[abstract]
    add_TaskServiceServicer_to_server(full, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with connect(address) as ring, asyncio.timeout(30):
            assert await ring.submit_task("a", agent="echo") is Disposition.STARTED
    finally:
        await server.stop(0)
