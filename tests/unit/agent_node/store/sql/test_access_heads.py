"""The heads of access logs in the store: one for each chain, and none goes back. And the secret of page tokens."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from agent_node.store.sql.sessions import SqlStore
from agentring.audit.chain import Head

pytestmark = pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
OpenSql = Callable[..., Awaitable[SqlStore]]
HEAD = Head("a" * 32, "node/a", 5, "1" * 64)


async def test_a_head_takes_the_place_of_the_one_before_and_never_goes_back(open_sql: OpenSql, url: str) -> None:
    store = await open_sql(url)
    later = replace(HEAD, lines=9, mac="2" * 64, ended=True)
    other = replace(HEAD, chain="b" * 32, process="router/127.0.0.1:1")
    for head in (HEAD, later, HEAD, other, other):
        await store.access_heads.keep(head)
    assert await store.access_heads.read() == [later, other]


async def test_the_secret_of_page_tokens_is_the_stores_own(open_sql: OpenSql, url: str) -> None:
    first, again = await open_sql(url), await open_sql(url)
    assert len(first.page_secret) == 32
    assert first.page_secret == again.page_secret
