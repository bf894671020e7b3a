"""ListTasks: a page of a tenant's tasks, in the order of their keys, as the store has them.

As with ListSessions (session_list.py) no node is looked up, and what comes and goes between two pages may be listed or
not; everything else is listed once.
"""

from agent_node.services.paging import Listing, page_size, read_page
from agent_node.store import ListedTask, TaskFilter, TaskStore
from agentring.errors import MalformedRequest
from agentring.ids import DEFAULT_TENANT, TaskKey, TenantId, parse_task
from agentring.v1 import task_pb2


async def list_page(
    store: TaskStore, key: bytes, tenant: TenantId, request: task_pb2.ListTasksRequest
) -> task_pb2.ListTasksResponse:
    """The page that is asked for. key: of the page tokens.

    Raises MalformedRequest, InvalidTaskKey, InvalidPageToken, StoreUnavailable.
    """
    which, size = _filter(request), page_size(request.page_size)
    listed, token = await read_page(
        Listing(key, "tasks", tenant, (which.prefix, which.agent, int(which.state))),
        request.page_token,
        size,
        _parse_key,
        lambda after, at_most: store.list_tasks(tenant, which, after or TaskKey(""), at_most),
        lambda task: task.key,
    )
    return task_pb2.ListTasksResponse(tasks=map(_described, listed), next_page_token=token)


def _filter(request: task_pb2.ListTasksRequest) -> TaskFilter:
    if request.task_key_prefix:
        _parse_key(request.task_key_prefix)
    if not request.agent.isprintable():
        raise MalformedRequest  # no agent is called so, and not every database takes it
    return TaskFilter(request.task_key_prefix, request.agent, request.state)


def _parse_key(key: str) -> TaskKey:
    return parse_task(DEFAULT_TENANT, key).task_key


def _described(listed: ListedTask) -> task_pb2.Task:
    task = task_pb2.Task(
        task_key=listed.key,
        agent=listed.agent,
        state=listed.state,
        node_id=listed.owner.rpartition("/")[0],
        epoch=listed.epoch,
        attempt=listed.attempt,
    )
    task.create_time.FromNanoseconds(listed.created_ns)
    if listed.ended_ns is not None:
        task.end_time.FromNanoseconds(listed.ended_ns)
    return task
