"""A node's places for running turns, and those that wait for one."""

import asyncio

import pytest

from agent_node.running_places import RunningPlaces
from agentring.errors import TooManyTurns


async def test_no_more_run_than_there_are_places_and_new_ones_are_refused_once_enough_wait() -> None:
    places = RunningPlaces(2, 1)
    for _ in range(2):
        places.check_room()
        await places.acquire()
    places.check_room()
    waiting = asyncio.create_task(places.acquire())
    await asyncio.sleep(0)
    assert places.waiting == 1
    with pytest.raises(TooManyTurns):
        places.check_room()
    places.release()
    await waiting
    assert places.waiting == 0
    places.check_room()


async def test_what_was_accepted_waits_however_many_do() -> None:
    places = RunningPlaces(1, 0)
    await places.acquire()
    waiting = [asyncio.create_task(places.acquire()) for _ in range(5)]
    await asyncio.sleep(0)
    assert not places.has_room
    for each in waiting:
        places.release()
        await each


async def test_one_that_is_cancelled_waits_no_more() -> None:
    places = RunningPlaces(1, 1)
    await places.acquire()
    waiting = asyncio.create_task(places.acquire())
    await asyncio.sleep(0)
    assert not places.has_room
    waiting.cancel()
    await asyncio.wait([waiting])
    assert places.has_room
