"""Lists are read page by page, as far as somebody asks."""

import asyncio
from typing import Any

from grpc import aio

from agentring.client import TaskState, connect, sync
from agentring.v1 import session_pb2, task_pb2
from agentring.v1.session_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server
from agentring.v1.task_pb2_grpc import TaskServiceServicer, add_TaskServiceServicer_to_server

IDS = ["a", "b", "c", "d", "e"]


class Sessions(SessionServiceServicer):
    def __init__(self) -> None:
        self.asked: list[session_pb2.ListSessionsRequest] = []

    async def ListSessions(self, request: Any, context: Any) -> session_pb2.ListSessionsResponse:
        self.asked.append(request)
        start = int(request.page_token or 0)
        end = start + request.page_size
        found = [session_pb2.Session(session_id=name) for name in IDS[start:end]]
        return session_pb2.ListSessionsResponse(sessions=found, next_page_token=str(end) if end < len(IDS) else "")


class Tasks(TaskServiceServicer):
    def __init__(self) -> None:
        self.asked: list[task_pb2.ListTasksRequest] = []

    async def ListTasks(self, request: Any, context: Any) -> task_pb2.ListTasksResponse:
        self.asked.append(request)
        last = bool(request.page_token)
        return task_pb2.ListTasksResponse(
            tasks=[task_pb2.Task(task_key="z" if last else "y")], next_page_token="" if last else "more"
        )


async def test_lists_go_over_their_pages_and_stop_where_the_reader_does() -> None:
    sessions, tasks = Sessions(), Tasks()  # type: ignore[abstract]  # the other methods are not served
    server = aio.server()
    add_SessionServiceServicer_to_server(sessions, server)
    add_TaskServiceServicer_to_server(tasks, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}") as ring:
            assert [found.session_id async for found in ring.list_sessions(agent="echo", page_size=2)] == IDS
            assert [(asked.agent, asked.page_token) for asked in sessions.asked] == [
                ("echo", ""),
                ("echo", "2"),
                ("echo", "4"),
            ]
            async for found in ring.list_sessions(page_size=2):
                assert found.session_id == "a"
                break
            assert len(sessions.asked) == 4
            assert [found.task_key async for found in ring.list_tasks(state=TaskState.RUNNING)] == ["y", "z"]
            assert await asyncio.to_thread(listed_without_a_loop, f"127.0.0.1:{port}") == [*IDS, "y", "z"]
            assert tasks.asked[0].state == task_pb2.TASK_STATE_RUNNING
    finally:
        await server.stop(0)


def listed_without_a_loop(address: str) -> list[str]:
    with sync.connect(address) as ring:
        sessions = [found.session_id for found in ring.list_sessions(page_size=2)]
        return sessions + [found.task_key for found in ring.list_tasks()]
