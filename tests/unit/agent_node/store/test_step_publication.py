"""What a durable store keeps of what a run had published when its steps were committed."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from agent_node.store import EventRow, Ownership, Publication
from agent_node.store.published import NOTHING_PUBLISHED, Published, still_valid
from agent_node.store.sql.sessions import SqlStore
from agentring.errors import StaleEpoch
from agentring.v1.session_pb2 import TURN_STATE_CANCELLED
from harness.stored_steps import SESSION, OwnedTask, OwnedTurn, all_rows, row
from harness.stored_turns import accepted, epoch

OpenSql = Callable[..., Awaitable[SqlStore]]


def at(seq: int, text_bytes: int = 0) -> Published:
    return Published(seq, text_bytes, 1, b"d" * 16, 3, seq)


@pytest.fixture
async def durable(url: str, open_sql: OpenSql) -> SqlStore:
    if url == "memory:":
        pytest.skip("keeps nothing that outlives its node")
    return await open_sql(url)


async def test_a_turns_events_come_with_its_step_and_its_next_owner_knows_how_far_it_was(durable: SqlStore) -> None:
    run = OwnedTurn(durable)
    owned = await run.take(1)
    events = [EventRow(1, 20, 0, b"first"), EventRow(21, 25, 5, b"second")]
    await run.steps.keep(owned, [replace(row(1), published=at(20, 7))], (), Publication(20, events[:1]))
    both = [row(2), replace(row(3), published=at(25, 9))]
    await run.steps.keep(owned, both, (), Publication(25, events[1:]))
    await run.steps.keep(owned, [replace(row(4), published=at(25, 9))], (), Publication(None))
    assert list(await durable.read_events(SESSION, 0, 1 << 20)) == events
    assert list(await run.steps.read_published(owned.life)) == [at(20, 7), at(25, 9), at(25, 9)]
    assert [each.published for each in await all_rows(run, owned)] == [None] * 4  # not read with the steps
    session = await durable.activate(Ownership(SESSION, epoch(2), "n2/1"), "agent")
    assert (session.head_seq, session.kept.oldest_seq, session.kept.end_bytes) == (25, 1, 11)
    (turn,) = session.turns.values()
    assert turn.published == (at(20, 7), at(25, 9))


async def test_an_end_of_another_turn_under_a_later_number_is_kept_with_it(durable: SqlStore) -> None:
    run = OwnedTurn(durable)
    owned = await run.take(1)
    ownership = Ownership(SESSION, owned.epoch, owned.owner)
    other = accepted(2)
    await durable.accept_turn(ownership, other, None)
    later = other.ended(TURN_STATE_CANCELLED, 24, b"")
    await run.steps.keep(owned, [replace(row(1), published=at(25))], (), Publication(25, [], [later]))
    found = await durable.read_turn(SESSION, other.turn_id)
    assert found is not None
    assert found.end_seq == 24


async def test_a_tasks_events_go_with_its_end(durable: SqlStore) -> None:
    run = OwnedTask(durable.tasks)
    owned = await run.take(1)
    events = [EventRow(1, 20, 0, b"first"), EventRow(21, 25, 0, b"second")]
    for ordinal, event in enumerate(events, start=1):
        kept = replace(row(ordinal), published=at(event.seq))
        await run.steps.keep(owned, [kept], (), Publication(None, [event]))
    assert list(await run.steps.read_events(owned.life)) == events
    assert list(await run.steps.read_published(owned.life)) == [at(20), at(25)]
    await run.end(owned)
    assert list(await run.steps.read_events(owned.life)) == []
    assert list(await run.steps.read_published(owned.life)) == []


@pytest.mark.parametrize("runs", [OwnedTurn, OwnedTask])
async def test_a_step_that_is_refused_leaves_no_events(
    durable: SqlStore, runs: type[OwnedTurn] | type[OwnedTask]
) -> None:
    run = OwnedTurn(durable) if runs is OwnedTurn else OwnedTask(durable.tasks)
    old = await run.take(1)
    new = await run.take(2, "n2/1")
    through = 20 if runs is OwnedTurn else None
    said = Publication(through, [EventRow(1, 20, 0, b"stale")])
    with pytest.raises(StaleEpoch):
        await run.steps.keep(old, [replace(row(1), published=at(20))], (), said)
    assert list(await durable.read_events(SESSION, 0, 1 << 20)) == []
    assert list(await run.steps.read_events(new.life)) == []
    assert list(await run.steps.read_published(new.life)) == []


def test_what_a_later_commit_took_back_is_not_valid_any_more() -> None:
    assert still_valid([]) == ()
    assert still_valid([at(3), at(3), at(5)]) == (at(3), at(5))
    assert still_valid([at(3), at(5), at(3), at(9)]) == (at(3), at(9))
    assert still_valid([at(3), NOTHING_PUBLISHED]) == ()
    assert still_valid([at(3), NOTHING_PUBLISHED, at(9)]) == (at(9),)
