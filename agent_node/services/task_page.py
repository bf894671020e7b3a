"""ListTasks: a page of a tenant's tasks, in the order of their keys.

A page token holds the last key of the page before, and what was asked for; it is no secret and gives nothing away: the
tenant is always the caller's. What comes and goes between two pages may be told or not, everything else is told once.
"""

import base64
import binascii
import json

from agent_node.store import ListedTask, TaskFilter
from agentring.errors import InvalidPageToken, InvalidTaskKey, MalformedRequest
from agentring.ids import DEFAULT_TENANT, TaskKey, parse_task
from agentring.v1 import task_pb2

_DEFAULT_SIZE, _LARGEST = 100, 1_000


def page_size(request: task_pb2.ListTasksRequest) -> int:
    """How many tasks a page has at most. Raises MalformedRequest."""
    if request.page_size < 0:
        raise MalformedRequest
    return min(request.page_size or _DEFAULT_SIZE, _LARGEST)


def filter_of(request: task_pb2.ListTasksRequest) -> TaskFilter:
    """What is asked for. Raises InvalidTaskKey."""
    if request.task_key_prefix:
        parse_task(DEFAULT_TENANT, request.task_key_prefix)
    return TaskFilter(request.task_key_prefix, request.agent, request.state)


def page_token(which: TaskFilter, last: TaskKey) -> str:
    """Says where the next page begins."""
    return base64.urlsafe_b64encode(json.dumps([*_asked(which), last]).encode()).decode()


def begins_after(which: TaskFilter, token: str) -> TaskKey:
    """The key that a page begins after; empty: it is the first. Raises InvalidPageToken."""
    if not token:
        return TaskKey("")
    try:
        *asked, last = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        if asked != _asked(which):
            raise InvalidPageToken
        return parse_task(DEFAULT_TENANT, last).task_key
    except (binascii.Error, ValueError, TypeError, InvalidTaskKey):
        raise InvalidPageToken from None


def as_task(listed: ListedTask) -> task_pb2.Task:
    """As a page shows it."""
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


def _asked(which: TaskFilter) -> list[str | int]:
    return [which.prefix, which.agent, int(which.state)]
