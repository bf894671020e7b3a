"""The three stores, each empty: what is promised of all of them is tested on all of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agent_node.store import MemoryStore, Store
from agent_node.store.clock import VolatileClock
from agent_node.store.opening import ClusterIdentity, open_store
from agent_node.store.sql.sessions import SqlStore
from harness.clock import FakeClock
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
def clock() -> FakeClock:
    """The boot clock of every store."""
    return FakeClock()


@pytest.fixture
def opened_stores() -> list[SqlStore]:
    """The durable ones of the test."""
    return []


@pytest.fixture
def pass_time(clock: FakeClock, opened_stores: list[SqlStore]) -> Callable[[float], Awaitable[None]]:
    """Lets so many seconds pass, of which each open store's clock counts its ticks."""

    async def passed(duration_s: float) -> None:
        until_s = clock.now_s() + duration_s
        while clock.now_s() < until_s:
            clock.advance(min(8.0, until_s - clock.now_s()))
            for store in opened_stores:
                await store.clock.tick()

    return passed


@pytest.fixture
async def open_sql(
    clock: FakeClock, opened_stores: list[SqlStore]
) -> AsyncIterator[Callable[..., Awaitable[SqlStore]]]:
    """Opens durable stores, and closes them with the test."""
    async with AsyncExitStack() as stack:

        async def opened(url: str, identity: ClusterIdentity = HERE, *, timeout_s: float = TIMEOUT_S) -> SqlStore:
            store = await open_store(url, identity, timeout_s=timeout_s, max_history_turns=HISTORY, clock=clock)
            assert store is not None
            opened_stores.append(store)
            stack.push_async_callback(store.close)
            return store

        yield opened


@pytest.fixture
async def store(url: str, open_sql: Callable[..., Awaitable[SqlStore]], clock: FakeClock) -> Store:
    """An empty store."""
    if url == "memory:":
        return MemoryStore(max_history_turns=HISTORY, clock=VolatileClock(clock))
    return await open_sql(url)
