"""A node's places for running turns, and those that wait for one."""

import asyncio

import pytest

from agent_node.run.slots import RunSlot, RunSlots
from agentring.errors import TooManyTurns
from agentring.ids import TenantId

ONE, OTHER, THIRD = TenantId("one"), TenantId("other"), TenantId("third")


async def test_no_more_run_than_there_are_places_and_new_ones_are_refused_once_enough_wait() -> None:
    places = RunSlots(2, 1)
    for _ in range(2):
        places.check_room(ONE)
        await places.acquire(ONE)
    places.check_room(ONE)
    waiting = asyncio.create_task(places.acquire(ONE))
    await asyncio.sleep(0)
    assert places.waiting == 1
    with pytest.raises(TooManyTurns):
        places.check_room(ONE)
    places.release()
    await waiting
    assert places.waiting == 0
    places.check_room(ONE)


async def test_what_was_accepted_waits_however_many_do() -> None:
    places = RunSlots(1, 0)
    await places.acquire(ONE)
    waiting = [asyncio.create_task(places.acquire(ONE)) for _ in range(5)]
    await asyncio.sleep(0)
    assert not places.has_room(ONE)
    for each in waiting:
        places.release()
        await each


async def test_one_that_is_cancelled_waits_no_more() -> None:
    places = RunSlots(1, 1)
    await places.acquire(ONE)
    waiting = asyncio.create_task(places.acquire(ONE))
    await asyncio.sleep(0)
    assert not places.has_room(ONE)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert places.has_room(ONE)


async def test_places_go_to_the_tenants_in_turn() -> None:
    places = RunSlots(1, 100)
    await places.acquire(ONE)
    order: list[TenantId] = []

    async def run(tenant: TenantId) -> None:
        async with RunSlot(places, tenant):
            order.append(tenant)

    async with asyncio.TaskGroup() as group:
        for tenant in (*[ONE] * 5, OTHER, OTHER, THIRD):
            group.create_task(run(tenant))
            await asyncio.sleep(0)
        places.release()
    assert order == [ONE, OTHER, THIRD, ONE, OTHER, ONE, ONE, ONE]


async def test_nobody_is_refused_because_of_what_others_wait_for() -> None:
    places = RunSlots(1, 2)
    await places.acquire(ONE)
    waiting = [asyncio.create_task(places.acquire(ONE)) for _ in range(2)]
    await asyncio.sleep(0)
    assert not places.has_room(ONE)
    assert places.has_room(OTHER)
    waiting.append(asyncio.create_task(places.acquire(OTHER)))
    await asyncio.sleep(0)
    assert not places.has_room(OTHER)
    for _ in waiting:
        places.release()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("released_first", [True, False])
async def test_a_place_that_is_given_to_one_who_is_cancelled_goes_to_the_next(released_first: bool) -> None:
    places = RunSlots(1, 10)
    await places.acquire(ONE)
    leaving, staying = (asyncio.create_task(places.acquire(tenant)) for tenant in (ONE, OTHER))
    await asyncio.sleep(0)
    if released_first:
        places.release()
        leaving.cancel()
    else:
        leaving.cancel()
        places.release()
    async with asyncio.timeout(5):
        await staying
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    places.release()
    await places.acquire(THIRD)
    assert places.waiting == 0
