"""Lists, a page at a time: the next page is asked for when the one before was used up.

Guarantees that no call is open between two pages, so that who leaves early leaves nothing. What is made or ends
meanwhile may be listed or not. Called by ring.py.
"""

from collections.abc import AsyncIterator

from grpc import aio

from agentring.client.session_info import SessionInfo, to_session_info
from agentring.client.streams import Connection, Metadata
from agentring.client.tasks import TaskInfo, TaskState, to_task_info
from agentring.client.unary import call
from agentring.v1 import session_pb2, task_pb2
from agentring.v1.session_pb2_grpc import SessionServiceStub
from agentring.v1.task_pb2_grpc import TaskServiceStub


async def list_sessions(connection: Connection, prefix: str, agent: str, page_size: int) -> AsyncIterator[SessionInfo]:
    """In the order of their ids. Raises AgentringError, ClientError."""
    request = session_pb2.ListSessionsRequest(session_id_prefix=prefix, agent=agent, page_size=page_size)

    async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> session_pb2.ListSessionsResponse:
        return await SessionServiceStub(channel).ListSessions(request, metadata=metadata, timeout=timeout)

    while True:
        page = await call(connection.routers, connection.policy, try_once)
        for found in page.sessions:
            yield to_session_info(found)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def list_tasks(
    connection: Connection, prefix: str, agent: str, state: TaskState, page_size: int
) -> AsyncIterator[TaskInfo]:
    """In the order of their keys. Raises AgentringError, ClientError."""
    request = task_pb2.ListTasksRequest(task_key_prefix=prefix, agent=agent, state=state.value, page_size=page_size)

    async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> task_pb2.ListTasksResponse:
        return await TaskServiceStub(channel).ListTasks(request, metadata=metadata, timeout=timeout)

    while True:
        page = await call(connection.routers, connection.policy, try_once)
        for found in page.tasks:
            yield to_task_info(found)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
