"""Events that a store keeps with the session's writes: in order, read from any place, the oldest dropped first."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from agent_node.store import EventExtent, EventRow, Ownership, Store
from agentring.errors import StaleEpoch
from agentring.ids import parse_session
from harness.stored_turns import accepted, cancelled, completed, epoch

REF, OTHER = parse_session("", "s"), parse_session("other", "s")
ROWS = [EventRow(10 * number + 1, 10 * number + 10, 100 * number, b"%03d" % number + b"x" * 97) for number in range(9)]
"""Ten numbers and a hundred bytes each."""
ALL = 1 << 20


def owned(revision: int) -> Ownership:
    return Ownership(REF, epoch(revision), "n1/1")


async def fill(store: Store, ownership: Ownership) -> None:
    """Every write that keeps events, with what it keeps: nine rows in all."""
    await store.accept_turn(ownership, accepted(1), 10, ROWS[:1])
    await store.commit_turn(ownership, completed(accepted(1)), events=ROWS[1:4])
    await store.accept_turn(ownership, accepted(2), 40, [])
    await store.end_turn(ownership, cancelled(accepted(2)), 80, events=ROWS[4:8])


async def test_what_was_told_is_kept_with_every_write_that_moves_the_head(store: Store) -> None:
    assert (await store.activate(owned(1), "agent")).kept == EventExtent()
    await fill(store, owned(1))
    assert await store.read_events(REF, 0, ALL) == ROWS[:8]
    found = await store.activate(owned(2), "agent")
    assert (found.kept, found.oldest_seq, found.head_seq) == (EventExtent(1, 0, 800), 1, 80)
    await store.close_session(owned(2), 90, ROWS[8:])
    assert await store.read_events(REF, 0, ALL) == ROWS


async def test_the_last_checkpoint_keeps_what_was_told_since(store: Store) -> None:
    await store.activate(owned(1), "agent")
    await store.release(owned(1), 10, 10, ROWS[:1])
    kept = await store.read_events(REF, 0, ALL)
    # A volatile store forgets the session.
    assert kept == (ROWS[:1] if store.durable else [])
    stored = await store.read(REF)
    assert (stored.oldest_seq if stored else None) == (1 if store.durable else None)


@pytest.mark.parametrize(("after_seq", "first"), [(0, 0), (1, 0), (9, 0), (10, 1), (15, 1), (79, 7), (80, 8)])
async def test_reading_goes_on_with_the_row_that_has_the_next_number(store: Store, after_seq: int, first: int) -> None:
    await store.activate(owned(1), "agent")
    await fill(store, owned(1))
    assert await store.read_events(REF, after_seq, ALL) == ROWS[first:8]
    assert await store.read_events(REF, after_seq, 150) == ROWS[first : min(8, first + 2)]
    assert await store.read_events(REF, after_seq, 1) == ROWS[first : min(8, first + 1)]


async def test_a_read_ends_somewhere_and_the_next_goes_on(store: Store) -> None:
    await store.activate(owned(1), "agent")
    many = [EventRow(seq, seq, 5 * seq, b"12345") for seq in range(1, 201)]
    await store.accept_turn(owned(1), accepted(1), 200, many)
    read: list[EventRow] = []
    while more := await store.read_events(REF, read[-1].seq if read else 0, ALL):
        read += more
    assert read == many


async def test_the_oldest_go_first_and_numbers_and_bytes_count_on(store: Store) -> None:
    await store.activate(owned(1), "agent")
    await fill(store, owned(1))
    trim = await store.trim_events(owned(1), 250)
    assert trim.kept == EventExtent(31, 300, 800)
    assert await store.read_events(REF, 0, ALL) == ROWS[3:8]
    found = await store.activate(owned(2), "agent")
    assert (found.kept, found.oldest_seq) == (trim.kept, 31)
    assert (await store.trim_events(owned(2), ALL)).kept == EventExtent()
    assert await store.read_events(REF, 0, ALL) == []
    found = await store.activate(owned(3), "agent")
    assert (found.kept, found.oldest_seq) == (EventExtent(), 81)


async def test_a_refused_write_keeps_nothing_and_drops_nothing(store: Store) -> None:
    await store.activate(owned(2), "agent")
    await store.accept_turn(owned(2), accepted(1), 10, ROWS[:1])
    with pytest.raises(StaleEpoch):
        await store.accept_turn(owned(1), accepted(2), 20, ROWS[1:2])
    with pytest.raises(StaleEpoch):
        await store.trim_events(owned(1), ALL)
    assert await store.read_events(REF, 0, ALL) == ROWS[:1]


async def test_another_sessions_events_are_neither_read_nor_dropped(store: Store) -> None:
    other = replace(owned(1), ref=OTHER)
    for ownership, rows in ((owned(1), ROWS[:2]), (other, ROWS[2:3])):
        await store.activate(ownership, "agent")
        await store.accept_turn(ownership, accepted(1), rows[-1].seq, rows)
    await store.trim_events(other, ALL)
    assert await store.read_events(REF, 0, ALL) == ROWS[:2]
    assert await store.read_events(OTHER, 0, ALL) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_an_expired_session_leaves_no_events(store: Store, pass_time: Callable[[float], Awaitable[None]]) -> None:
    await store.activate(owned(1), "agent")
    await fill(store, owned(1))
    await store.close_session(owned(1), 80)
    assert await store.expire_closed(0.0) == 0
    await pass_time(30.0)
    assert await store.expire_closed(0.0) == 1
    assert await store.read_events(REF, 0, ALL) == []
