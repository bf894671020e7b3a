"""One call at a time under a name, carried out to its end."""

import asyncio

import pytest

from agent_node.single_flight import SingleFlight
from agentring.errors import NodeOverloaded


class Gate:
    """A call that the test lets go, and how often it was begun."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun = 0
        self.has_begun = asyncio.Event()
        self.results: list[int] = []
        self.error: Exception | None = None

    async def call(self) -> int:
        self.begun += 1
        number = self.begun
        self.has_begun.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.results.append(number)
        return number


async def test_callers_that_come_meanwhile_share_one_call() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as group:
        calls: SingleFlight[str, int] = SingleFlight(group)
        asking = [group.create_task(calls.get("s", gate.call)) for _ in range(5)]
        other = group.create_task(calls.get("other", gate.call))
        await gate.has_begun.wait()
        assert ("s" in calls, "other" in calls, "third" in calls, len(calls)) == (True, True, False, 2)
        gate.open.set()
    assert {task.result() for task in asking} == {gate.results[0]}
    assert other.result() == gate.results[1]
    assert (gate.begun, len(calls)) == (2, 0)


async def test_an_error_reaches_all_and_the_next_call_begins_anew() -> None:
    gate = Gate()
    gate.error = NodeOverloaded()
    async with asyncio.TaskGroup() as group:
        calls: SingleFlight[str, int] = SingleFlight(group)
        asking = [asyncio.ensure_future(calls.get("s", gate.call)) for _ in range(3)]
        await gate.has_begun.wait()
        gate.open.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert all(result is gate.error for result in results)
        gate.error = None
        assert await calls.get("s", gate.call) == 2


async def test_an_error_that_nobody_is_left_to_hear_harms_nobody() -> None:
    gate = Gate()
    gate.error = NodeOverloaded()
    async with asyncio.TaskGroup() as group:
        calls: SingleFlight[str, int] = SingleFlight(group)
        leaving = group.create_task(calls.get("s", gate.call))
        await gate.has_begun.wait()
        leaving.cancel()
        gate.open.set()
    assert leaving.cancelled()
    assert len(calls) == 0


async def test_a_caller_that_goes_away_does_not_end_it() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as group:
        calls: SingleFlight[str, int] = SingleFlight(group)
        leaving = group.create_task(calls.get("s", gate.call))
        stays = group.create_task(calls.get("s", gate.call))
        await gate.has_begun.wait()
        leaving.cancel()
        gate.open.set()
        assert await stays == 1
    assert leaving.cancelled()


async def test_it_goes_on_although_all_callers_have_left() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as group:
        calls: SingleFlight[str, int] = SingleFlight(group)
        leaving = group.create_task(calls.get("s", gate.call))
        await gate.has_begun.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        gate.open.set()
    assert gate.results == [1]


@pytest.mark.parametrize("has_begun", [True, False], ids=["under way", "before its first step"])
async def test_when_its_owner_ends_the_waiters_are_cancelled(has_begun: bool) -> None:
    gate = Gate()
    calls: list[SingleFlight[str, int]] = []
    owning = asyncio.Event()

    async def own() -> None:
        async with asyncio.TaskGroup() as group:
            calls.append(SingleFlight(group))
            owning.set()
            await asyncio.Event().wait()

    owner = asyncio.ensure_future(own())
    await owning.wait()
    asking = asyncio.ensure_future(calls[0].get("s", gate.call))
    if has_begun:
        await gate.has_begun.wait()
    else:
        asyncio.get_running_loop().call_soon(owner.cancel)
    owner.cancel()
    await asyncio.wait([owner])
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert len(calls[0]) == 0
