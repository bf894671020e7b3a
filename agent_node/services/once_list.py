"""ListRuns: a page of a tenant's steps that run once, in the order of their keys, as the store has them; without their
results, which may be large. As with ListTasks (task_list.py) what comes and goes between two pages may be listed or
not.
"""

from collections.abc import Callable

from agent_node.once.keys import OnceKeys
from agent_node.services.paging import begins_after, page_size, page_token
from agent_node.store.once_records import StoredRun
from agentring.ids import DEFAULT_TENANT, TaskKey, TenantId, parse_once
from agentring.v1 import once_pb2


async def list_page(
    keys: OnceKeys,
    tenant: TenantId,
    request: once_pb2.ListRunsRequest,
    described: Callable[[StoredRun], once_pb2.Run],
) -> once_pb2.ListRunsResponse:
    """The page that is asked for. Raises MalformedRequest, InvalidTaskKey, InvalidPageToken, StoreUnavailable."""
    prefix, size = request.once_key_prefix, page_size(request.page_size)
    if prefix:
        _parse_key(prefix)
    asked = (prefix, int(request.state))
    after = begins_after(asked, request.page_token, _parse_key)
    listed = await keys.list_runs(tenant, prefix, after or "", request.state, size + 1)
    token = page_token(asked, listed[size - 1].ref.task_key) if len(listed) > size else ""
    return once_pb2.ListRunsResponse(runs=map(described, listed[:size]), next_page_token=token)


def _parse_key(key: str) -> TaskKey:
    return parse_once(DEFAULT_TENANT, key).task_key
