"""A node's slots for running turns, and those that wait for one."""

import asyncio

import pytest

from agent_node.run.slots import RunSlot, RunSlots
from agentring.errors import TooManyTurns
from agentring.ids import TenantId

ONE, OTHER, THIRD = TenantId("one"), TenantId("other"), TenantId("third")


async def test_no_more_run_than_there_are_slots_and_new_ones_are_refused_once_enough_wait() -> None:
    slots = RunSlots(2, 1)
    for _ in range(2):
        slots.check_room(ONE)
        await slots.acquire(ONE)
    slots.check_room(ONE)
    waiting = asyncio.create_task(slots.acquire(ONE))
    await asyncio.sleep(0)
    assert slots.waiting == 1
    with pytest.raises(TooManyTurns):
        slots.check_room(ONE)
    slots.release()
    await waiting
    assert slots.waiting == 0
    slots.check_room(ONE)


async def test_what_was_accepted_waits_however_many_do() -> None:
    slots = RunSlots(1, 0)
    await slots.acquire(ONE)
    waiting = [asyncio.create_task(slots.acquire(ONE)) for _ in range(5)]
    await asyncio.sleep(0)
    assert not slots.has_room(ONE)
    for each in waiting:
        slots.release()
        await each


async def test_one_that_is_cancelled_waits_no_more() -> None:
    slots = RunSlots(1, 1)
    await slots.acquire(ONE)
    waiting = asyncio.create_task(slots.acquire(ONE))
    await asyncio.sleep(0)
    assert not slots.has_room(ONE)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert slots.has_room(ONE)


async def test_slots_go_to_the_tenants_in_turn() -> None:
    slots = RunSlots(1, 100)
    await slots.acquire(ONE)
    order: list[TenantId] = []

    async def run(tenant: TenantId) -> None:
        async with RunSlot(slots, tenant):
            order.append(tenant)

    async with asyncio.TaskGroup() as group:
        for tenant in (*[ONE] * 5, OTHER, OTHER, THIRD):
            group.create_task(run(tenant))
            await asyncio.sleep(0)
        slots.release()
    assert order == [ONE, OTHER, THIRD, ONE, OTHER, ONE, ONE, ONE]


async def test_nobody_is_refused_because_of_what_others_wait_for() -> None:
    slots = RunSlots(1, 2)
    await slots.acquire(ONE)
    waiting = [asyncio.create_task(slots.acquire(ONE)) for _ in range(2)]
    await asyncio.sleep(0)
    assert not slots.has_room(ONE)
    assert slots.has_room(OTHER)
    waiting.append(asyncio.create_task(slots.acquire(OTHER)))
    await asyncio.sleep(0)
    assert not slots.has_room(OTHER)
    for _ in waiting:
        slots.release()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("released_first", [True, False])
async def test_a_slot_granted_to_one_that_is_cancelled_goes_to_the_next(released_first: bool) -> None:
    slots = RunSlots(1, 10)
    await slots.acquire(ONE)
    leaving, staying = (asyncio.create_task(slots.acquire(tenant)) for tenant in (ONE, OTHER))
    await asyncio.sleep(0)
    if released_first:
        slots.release()
        leaving.cancel()
    else:
        leaving.cancel()
        slots.release()
    async with asyncio.timeout(5):
        await staying
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    slots.release()
    await slots.acquire(THIRD)
    assert slots.waiting == 0
