"""What a turn writes is one statement on PostgreSQL, and does what the usual transaction does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import pytest
from sqlalchemy import event

from agent_node.store import EventRow, Ownership, StoredSession
from agent_node.store.database.postgres import PostgresDriver
from agent_node.store.sql import session_at_once as at_once
from agent_node.store.sql import session_transactions as transactions
from agent_node.store.sql.sessions import SqlStore
from agentring.errors import StaleEpoch
from agentring.ids import SessionRef, parse_session
from harness.postgres import PostgresProcess
from harness.stored_turns import accepted, completed, epoch

REF, OTHER = parse_session("", "s"), parse_session("", "other")
OLD, NEW = Ownership(REF, epoch(1), "n1/1"), Ownership(REF, epoch(2), "n2/1")
ROW = EventRow(1, 5, 0, b"events")


@pytest.fixture
def url(postgres: PostgresProcess) -> str:
    return postgres.database()


@pytest.fixture
async def store(url: str, open_sql: Callable[..., Awaitable[SqlStore]]) -> SqlStore:
    store = await open_sql(url)
    await store.activate(OLD, "agent")
    return store


@contextmanager
def statements(store: SqlStore) -> Iterator[list[str]]:
    """Those that go to the server meanwhile, but for beginnings and ends."""
    driver = store.driver._driver
    assert isinstance(driver, PostgresDriver)
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(driver._engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(driver._engine.sync_engine, "before_cursor_execute", note)


async def test_an_acceptance_and_a_commit_are_one_statement_each(store: SqlStore) -> None:
    with statements(store) as sent:
        first = await store.accept_turn(OLD, accepted(1), 5, [ROW])
        second = await store.commit_turn(OLD, completed(accepted(1), '{"n": 1}'), (), [EventRow(6, 9, 6, b"more")])
    assert len(sent) == 2
    assert (first.known, second) == (None, first.commit + 1)
    assert await store.read_events(REF, 0, 99) == [ROW, EventRow(6, 9, 6, b"more")]
    found = await store.activate(NEW, "agent")
    assert found.state_json == '{"n": 1}'
    assert (found.turns_completed, [past.output_text for past in found.history]) == (1, ["out 1"])


async def test_a_new_session_is_one_statement(store: SqlStore) -> None:
    new, later = (Ownership(OTHER, epoch(number), "n1/1") for number in (1, 2))
    with statements(store) as sent:
        made = await store.activate(new, "agent")
    assert len(sent) == 1
    assert await store.read(OTHER) == replace(made, log_seq=made.reserved_seq)
    with pytest.raises(StaleEpoch):
        await store.activate(new, "agent")
    await store.accept_turn(new, accepted(1), 5, [ROW])
    found = await store.activate(later, "another")
    assert (found.agent, found.epoch, list(found.turns), found.kept.end_bytes) == ("agent", epoch(2), ["t1"], 6)


async def test_a_database_of_another_generation_gets_no_session(store: SqlStore) -> None:
    store._generation += 1
    for ref in (OTHER, REF):
        with pytest.raises(StaleEpoch):
            await store.activate(Ownership(ref, epoch(9), "n1/1"), "agent")
    assert await store.read(OTHER) is None
    assert (await store.accept_turn(OLD, accepted(1), 0)).known is None


async def test_a_stale_write_leaves_nothing(store: SqlStore) -> None:
    await store.accept_turn(OLD, accepted(1), 0)
    await store.activate(NEW, "agent")
    with pytest.raises(StaleEpoch):
        await store.accept_turn(OLD, accepted(2), 5, [ROW])
    with pytest.raises(StaleEpoch):
        await store.commit_turn(OLD, completed(accepted(1), '{"n": 1}'), (), [ROW])
    assert await store.read_events(REF, 0, 99) == []
    assert await store.read_turn(REF, "t2") is None
    found = await store.activate(Ownership(REF, epoch(3), "n2/1"), "agent")
    assert (found.state_json, found.turns["t1"].end_seq) == ("{}", None)


async def test_a_turn_that_is_there_is_told(store: SqlStore) -> None:
    await store.accept_turn(OLD, accepted(1), 0)
    again = await store.accept_turn(OLD, accepted(2, "t1"), 0)
    assert again.known is not None
    assert again.known.number == 1


async def test_a_write_whose_answer_was_lost_is_recognised(store: SqlStore) -> None:
    values: dict[str, Any] = {"ownership": OLD, "commit_id": "c1", "turn": accepted(1), "head_seq": 5, "events": [ROW]}
    found = [
        await store.driver.transact(
            partial(transactions.accept_turn, **values), retry=True, at_once=partial(at_once.accept_turn, **values)
        )
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert await store.read_events(REF, 0, 99) == [ROW]


async def test_a_write_of_several_turns_is_the_usual_transaction(store: SqlStore) -> None:
    for number in (1, 2):
        await store.accept_turn(OLD, accepted(number), 0)
    with statements(store) as sent:
        await store.commit_turn(OLD, completed(accepted(1), None), [accepted(2)], [ROW, EventRow(6, 9, 6, b"more")])
    assert len(sent) > 2
    assert len(await store.read_events(REF, 0, 99)) == 2


async def test_activations_of_a_new_session_that_come_together_miss_nothing_of_each_other(
    store: SqlStore, url: str, open_sql: Callable[..., Awaitable[SqlStore]]
) -> None:
    """Whoever's epoch is the highest has the session, and has read whatever an earlier owner was told is stored."""
    stores = [store, await open_sql(url)]
    for attempt in range(10):
        ref = parse_session("", f"raced-{attempt}")

        async def own(number: int, ref: SessionRef = ref) -> tuple[StoredSession, set[str]] | None:
            """The session as it was read, and the turns that were then accepted."""
            node, owned = stores[number % 2], Ownership(ref, epoch(number), f"n{number}/1")
            with suppress(StaleEpoch):
                found = await node.activate(owned, "agent")
                with suppress(StaleEpoch):
                    await node.accept_turn(owned, accepted(len(found.turns) + 1, f"t{number}"), found.reserved_seq)
                    return found, {f"t{number}"}
                return found, set()
            return None

        numbers = list(range(1, 9))
        Random(attempt).shuffle(numbers)
        outcomes = [outcome for outcome in await asyncio.gather(*map(own, numbers)) if outcome is not None]
        last, _ = max(outcomes, key=lambda outcome: outcome[0].epoch)
        assert last.epoch == epoch(8)
        assert set(last.turns) | {"t8"} == set().union(*(kept for _, kept in outcomes))
        assert len({found.epoch for found, _ in outcomes}) == len(outcomes)
