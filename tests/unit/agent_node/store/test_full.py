"""A store without space, and one whose file is damaged: nothing is acknowledged, and it goes on once it can."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from agent_node.store import Ownership
from agent_node.store.opening import StoreRefused
from agent_node.store.sql.sessions import SqlStore
from agentring.errors import StoreFull, StoreUnavailable
from agentring.ids import parse_session
from harness.stored_turns import accepted, completed, epoch

OWNED = Ownership(parse_session("", "s"), epoch(1), "n1/1")
LARGE = '{"state": "' + "x" * 1_000_000 + '"}'


@pytest.fixture
def kind() -> str:
    return "sqlite"


async def pragma(store: SqlStore, what: str) -> None:
    def run(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA {what}")

    await store.driver.transact(run, retry=False)


def trouble(store: SqlStore) -> str | None:
    return store.driver.trouble


async def test_a_full_store_keeps_nothing_and_works_again_once_there_is_space(
    url: str, open_sql: Callable[..., Awaitable[SqlStore]]
) -> None:
    store = await open_sql(url)
    await store.activate(OWNED, "agent")
    await store.accept_turn(OWNED, accepted(1), None)
    await pragma(store, "max_page_count = 60")
    with pytest.raises(StoreFull):
        await store.commit_turn(OWNED, completed(accepted(1), LARGE))
    assert dict(store.driver.failures) == {"STORE_FULL": 1}
    read = await store.read_turn(OWNED.ref, "t1")
    assert read is not None
    assert read.end_seq is None
    assert trouble(store) == "STORE_FULL"  # that it can be read says nothing of writes
    await pragma(store, "max_page_count = 1000000")
    await store.commit_turn(OWNED, completed(accepted(1), LARGE))
    assert trouble(store) is None
    session = await store.activate(Ownership(OWNED.ref, epoch(2), "n1/1"), "agent")
    assert (session.state_json, session.turns_completed) == (LARGE, 1)


async def test_who_shares_a_transaction_with_what_has_no_space_is_not_refused_for_it_for_good(
    url: str, open_sql: Callable[..., Awaitable[SqlStore]]
) -> None:
    store = await open_sql(url)
    await store.activate(OWNED, "agent")
    await store.accept_turn(OWNED, accepted(1), None)
    await pragma(store, "max_page_count = 60")
    with pytest.raises(StoreFull):
        await store.commit_turn(OWNED, completed(accepted(1), LARGE))
    await store.commit_turn(OWNED, completed(accepted(1), "{}"))  # small enough
    assert trouble(store) is None


async def test_a_damaged_file_is_a_store_that_does_not_answer(
    url: str, open_sql: Callable[..., Awaitable[SqlStore]]
) -> None:
    store = await open_sql(url)
    await store.activate(OWNED, "agent")
    await store.close()
    with Path(url.removeprefix("sqlite:///")).open("r+b") as file:  # noqa: ASYNC230
        file.seek(4096)
        file.write(b"\xff" * 200_000)
    with pytest.raises((StoreRefused, StoreUnavailable)):
        await (await open_sql(url)).activate(Ownership(OWNED.ref, epoch(2), "n1/1"), "agent")
