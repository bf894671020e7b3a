"""How many bytes a durable store has of a tenant."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from agent_node.store import Ownership
from agent_node.store.file_records import FileChunk
from agent_node.store.sql.sessions import SqlStore
from agentring.ids import TenantId, parse_session
from harness.stored_turns import accepted, epoch

OpenSql = Callable[..., Awaitable[SqlStore]]
FIRST = Ownership(parse_session("t", "s"), epoch(1), "n1/1")
TENANT = FIRST.ref.tenant


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
async def test_what_a_tenant_stores_is_counted_and_no_others(url: str, open_sql: OpenSql) -> None:
    store = await open_sql(url)
    assert await store.stored_bytes.of(TENANT) == 0
    await store.activate(FIRST, "agent")
    empty = await store.stored_bytes.of(TENANT)
    assert empty < 200
    await store.accept_turn(FIRST, replace(accepted(1), input=b"\0" * 50_000), 1, [])
    with_turn = await store.stored_bytes.of(TENANT)
    assert 50_000 <= with_turn - empty < 51_000
    digest = b"d" * 32
    assert await store.files.make_room(FIRST, digest, 70_000, 1 << 20, ())
    await store.files.keep_chunk(FIRST, FileChunk(digest, 70_000, 0, b"x" * 70_000))
    assert 70_000 <= await store.stored_bytes.of(TENANT) - with_turn < 71_000
    assert await store.stored_bytes.of(TenantId("other")) == 0
