"""A log's readers are woken, and many of them do not hold up the event loop."""

import asyncio

from agent_node.events.readers import AT_ONCE, LogReaders


def readers_of(count: int) -> tuple[LogReaders, list[asyncio.Event]]:
    readers, events = LogReaders(), [asyncio.Event() for _ in range(count)]
    for event in events:
        readers.add(event)
    return readers, events


def woken(events: list[asyncio.Event]) -> int:
    return sum(event.is_set() for event in events)


def test_few_are_woken_at_once() -> None:
    readers, events = readers_of(AT_ONCE)
    readers.wake()
    assert woken(events) == AT_ONCE


async def test_many_are_woken_a_group_in_each_round_and_others_come_between() -> None:
    readers, events = readers_of(3 * AT_ONCE + 1)
    readers.wake()
    counts = [woken(events)]
    for _ in range(3):
        await asyncio.sleep(0)
        counts.append(woken(events))
    assert counts == [AT_ONCE, 2 * AT_ONCE, 3 * AT_ONCE, 3 * AT_ONCE + 1]


async def test_however_often_more_comes_everybody_has_a_turn() -> None:
    readers, events = readers_of(4 * AT_ONCE)
    times = dict.fromkeys(events, 0)
    for _ in range(40):
        readers.wake()
        await asyncio.sleep(0)
        for event in events:
            times[event] += event.is_set()
            event.clear()
    assert min(times.values()) >= 9
    assert max(times.values()) <= 12


async def test_a_reader_that_was_woken_before_the_latest_events_is_woken_again() -> None:
    readers, events = readers_of(2 * AT_ONCE)
    readers.wake()
    first = [event for event in events if event.is_set()]
    for event in first:
        event.clear()
    readers.wake()
    for _ in range(3):
        await asyncio.sleep(0)
    assert woken(events) == 2 * AT_ONCE


async def test_a_reader_that_leaves_is_not_woken_and_a_new_one_is_woken_by_what_comes_next() -> None:
    readers, events = readers_of(3 * AT_ONCE)
    readers.wake()
    leaving = next(event for event in events if not event.is_set())
    readers.discard(leaving)
    late = asyncio.Event()
    readers.add(late)
    for _ in range(3):
        await asyncio.sleep(0)
    assert (woken(events), leaving.is_set(), late.is_set()) == (3 * AT_ONCE - 1, False, False)
    readers.wake()
    for _ in range(4):
        await asyncio.sleep(0)
    assert (late.is_set(), len(readers)) == (True, 3 * AT_ONCE)
