"""So many bytes are on their way at a time, in the order of their coming."""

import asyncio

from agent_node.store.database.byte_budget import ByteBudget


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_first_goes_first_and_no_more_than_fit_go_together() -> None:
    budget, going, ends = ByteBudget(10), [], {name: asyncio.Event() for name in "abcd"}

    async def go(name: str, size_bytes: int) -> None:
        async with budget.taken(size_bytes):
            going.append(name)
            await ends[name].wait()

    async with asyncio.TaskGroup() as tasks:
        for name, size_bytes in (("a", 6), ("b", 25), ("c", 5), ("d", 5)):
            tasks.create_task(go(name, size_bytes))
        await settle()
        assert going == ["a"]
        ends["a"].set()
        await settle()
        assert going == ["a", "b"]  # which is larger than all, and so alone
        ends["b"].set()
        await settle()
        assert going == ["a", "b", "c", "d"]
        ends["c"].set()
        ends["d"].set()


async def test_who_is_cancelled_gives_back_what_it_had_and_holds_up_nobody() -> None:
    budget = ByteBudget(10)

    async def go(size_bytes: int) -> None:
        async with budget.taken(size_bytes):
            await asyncio.get_running_loop().create_future()

    tasks = [asyncio.ensure_future(go(size_bytes)) for size_bytes in (10, 10)]
    await settle()
    for task in reversed(tasks):
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(5), budget.taken(10):
        pass
