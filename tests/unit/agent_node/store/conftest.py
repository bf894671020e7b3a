"""The three stores, each empty: what is promised of all of them is tested on all of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agent_node.store import MemoryStore, Store
from agent_node.store.opening import ClusterIdentity, open_store
from agent_node.store.sql import SqlStore
from harness.postgres import PostgresProcess
from harness.stored_turns import HERE

TIMEOUT_S = 5.0
HISTORY = 3


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store."""
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if kind == "memory":
        return "memory:"
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    postgres: PostgresProcess = request.getfixturevalue("postgres")
    return postgres.database()


@pytest.fixture
async def open_sql() -> AsyncIterator[Callable[..., Awaitable[SqlStore]]]:
    """Opens durable stores, and closes them with the test."""
    async with AsyncExitStack() as stack:

        async def opened(url: str, identity: ClusterIdentity = HERE, *, timeout_s: float = TIMEOUT_S) -> SqlStore:
            store = await open_store(url, identity, timeout_s=timeout_s, max_history_turns=HISTORY)
            assert store is not None
            stack.push_async_callback(store.close)
            return store

        yield opened


@pytest.fixture
async def store(url: str, open_sql: Callable[..., Awaitable[SqlStore]]) -> Store:
    """An empty store."""
    return MemoryStore(max_history_turns=HISTORY) if url == "memory:" else await open_sql(url)
