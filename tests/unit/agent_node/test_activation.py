"""One activation at a time for a name."""

import asyncio

import pytest

from agent_node.activation import Activations
from agentring.errors import NodeOverloaded


class Gate:
    """An activation that the test lets go, and how often it was begun."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun = 0
        self.has_begun = asyncio.Event()
        self.results: list[int] = []
        self.error: Exception | None = None

    async def activate(self) -> int:
        self.begun += 1
        number = self.begun
        self.has_begun.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.results.append(number)
        return number


async def test_all_who_ask_meanwhile_share_one_activation() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as group:
        activations: Activations[str, int] = Activations(group)
        asking = [group.create_task(activations.get("s", gate.activate)) for _ in range(5)]
        other = group.create_task(activations.get("other", gate.activate))
        await asyncio.sleep(0)
        gate.open.set()
    assert {task.result() for task in asking} == {gate.results[0]}
    assert other.result() == gate.results[1]
    assert (gate.begun, len(activations)) == (2, 0)


async def test_an_error_reaches_all_and_the_next_call_begins_anew() -> None:
    gate = Gate()
    gate.error = NodeOverloaded()
    async with asyncio.TaskGroup() as group:
        activations: Activations[str, int] = Activations(group)
        asking = [asyncio.ensure_future(activations.get("s", gate.activate)) for _ in range(3)]
        await asyncio.sleep(0)
        gate.open.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert all(result is gate.error for result in results)
        gate.error = None
        assert await activations.get("s", gate.activate) == 2


async def test_a_caller_that_goes_away_does_not_end_it() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as group:
        activations: Activations[str, int] = Activations(group)
        gone = group.create_task(activations.get("s", gate.activate))
        stays = group.create_task(activations.get("s", gate.activate))
        await asyncio.sleep(0)
        gone.cancel()
        gate.open.set()
        assert await stays == 1
    assert gone.cancelled()


async def test_when_its_owner_ends_those_who_wait_are_cancelled() -> None:
    gate = Gate()

    async def ask() -> None:
        async with asyncio.TaskGroup() as group:
            activations: Activations[str, int] = Activations(group)
            await activations.get("s", gate.activate)

    asking = asyncio.ensure_future(ask())
    await gate.has_begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
