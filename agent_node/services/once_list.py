"""ListRuns: a page of a tenant's steps that run once, in the order of their keys, as the store has them; without their
results, which may be large. As with ListTasks (task_list.py) what comes and goes between two pages may be listed or
not.
"""

from collections.abc import Callable

from agent_node.once.keys import OnceKeys
from agent_node.services.paging import Listing, page_size, read_page
from agent_node.store.once_records import StoredRun
from agentring.ids import DEFAULT_TENANT, TaskKey, TenantId, parse_once
from agentring.v1 import once_pb2


async def list_page(
    keys: OnceKeys,
    page_key: bytes,
    tenant: TenantId,
    request: once_pb2.ListRunsRequest,
    described: Callable[[StoredRun], once_pb2.Run],
) -> once_pb2.ListRunsResponse:
    """The page that is asked for. Raises MalformedRequest, InvalidTaskKey, InvalidPageToken, StoreUnavailable."""
    prefix, size = request.once_key_prefix, page_size(request.page_size)
    if prefix:
        _parse_key(prefix)
    listed, token = await read_page(
        Listing(page_key, "once", tenant, (prefix, int(request.state))),
        request.page_token,
        size,
        _parse_key,
        lambda after, at_most: keys.list_runs(tenant, prefix, after or "", request.state, at_most),
        lambda run: run.ref.task_key,
    )
    return once_pb2.ListRunsResponse(runs=map(described, listed), next_page_token=token)


def _parse_key(key: str) -> TaskKey:
    return parse_once(DEFAULT_TENANT, key).task_key
