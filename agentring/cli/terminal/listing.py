"""Lists of a tenant's things, page after page, and how states are called. Used by the commands that list."""

from collections.abc import Callable
from typing import Any, TypeVar

from agentring.v1.task_pb2 import TASK_STATE_UNSPECIFIED, TaskState

_LARGEST_PAGE = 1_000
_PREFIX = "TASK_STATE_"

Listed = TypeVar("Listed", bound=Any)
"""A message of one repeated field, and next_page_token."""


def read_list(call: Callable[[Any], Listed], request: Any, found: Listed, items: str, limit: int) -> Listed:
    """What is listed, up to the limit. call: asks for a page; found: an empty page, which is filled; items: its field.
    Raises grpc.RpcError."""
    while (left := limit - len(getattr(found, items))) > 0:
        request.page_size = min(left, _LARGEST_PAGE)
        page = call(request)
        found.MergeFrom(page)
        found.next_page_token = request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    return found


def to_state(word: str | None) -> TaskState.ValueType:
    """A state by its word; None: any."""
    return TaskState.Value(_PREFIX + word.upper()) if word is not None else TASK_STATE_UNSPECIFIED


def to_word(state: TaskState.ValueType) -> str:
    """The inverse."""
    return TaskState.Name(state).removeprefix(_PREFIX).lower()
