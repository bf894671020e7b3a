"""How large the pages of a list are, and where the next one begins."""

import pytest

from agent_node.services.paging import DEFAULT_SIZE, LARGEST_SIZE, page_size
from agent_node.services.session_list import list_page
from agent_node.store import MemoryStore, Ownership
from agentring.errors import MalformedRequest
from agentring.ids import DEFAULT_TENANT, Epoch, parse_session
from agentring.v1 import session_pb2


@pytest.mark.parametrize(
    ("asked", "size"), [(0, DEFAULT_SIZE), (1, 1), (1_000, 1_000), (1_001, LARGEST_SIZE), ((1 << 31) - 1, LARGEST_SIZE)]
)
def test_a_pages_size_is_bounded(asked: int, size: int) -> None:
    assert page_size(asked) == size


@pytest.mark.parametrize("asked", [-1, -(1 << 31)])
def test_no_page_has_less_than_nothing(asked: int) -> None:
    with pytest.raises(MalformedRequest):
        page_size(asked)


async def test_the_last_page_has_no_token_also_where_it_is_full() -> None:
    store = MemoryStore(max_history_turns=1)
    for number in range(4):
        await store.activate(Ownership(parse_session("", f"s{number}"), Epoch(1), "n1/1"), "agent")
    request = session_pb2.ListSessionsRequest(page_size=2)
    pages = []
    while True:
        page = await list_page(store, b"k", DEFAULT_TENANT, request)
        pages.append([session.session_id for session in page.sessions])
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert pages == [["s0", "s1"], ["s2", "s3"]]
    assert (page.sessions[0].node_id, page.sessions[0].oldest_seq) == ("n1", 1)
