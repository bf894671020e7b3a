"""AgentTest in whatever event loop and framework a test has, beside others of its kind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest
import uvloop

from agentring.agent import AgentEvent, Context
from agentring.testing import AgentTest, Effect


async def grouping(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Two steps side by side, in a group of anyio's, within a time-out."""
    found: list[int] = []

    async def double(number: int) -> None:
        async def doubled() -> int:
            await anyio.lowlevel.checkpoint()
            return 2 * number

        found.append(await ctx.step("double", doubled, key=str(number)))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(double, 1)
            group.start_soon(double, 2)
    yield str(sorted(found))


async def body() -> None:
    async with AgentTest(grouping) as t:
        t.crash(after_step=1)
        turn = await t.turn()
        assert (turn.text, turn.attempts) == ("[2, 4]", 2)
        report = await t.crash_everywhere()
        assert len(report.cuts) > 10


def by_uvloop(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())  # type: ignore[arg-type]


@pytest.mark.parametrize("run", [anyio.run, by_uvloop, lambda test: asyncio.run(test(), debug=True)])
def test_it_runs_in_every_loop(run: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
    run(body)


async def test_tests_side_by_side_have_nothing_in_common() -> None:
    effects = [Effect(lambda: None, f"effect {number}") for number in range(5)]

    async def one(effect: Effect) -> str:
        async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
            ctx.state["turns"] = ctx.state.get("turns", 0) + 1
            await ctx.step("step", effect)
            yield f"{effect.name} {ctx.state['turns']}"

        async with AgentTest(agent) as t:
            t.crash(after_step=1)
            await t.turn()
            return (await t.turn()).text

    assert await asyncio.gather(*map(one, effects)) == [f"effect {number} 2" for number in range(5)]
    assert [effect.count for effect in effects] == [2] * 5


async def test_the_loops_own_task_factory_goes_on_and_comes_back() -> None:
    made: list[str] = []
    loop = asyncio.get_running_loop()

    def factory(loop: asyncio.AbstractEventLoop, coroutine: object, **how: object) -> "asyncio.Task[object]":
        made.append(type(coroutine).__name__)
        return asyncio.Task(coroutine, loop=loop, **how)  # type: ignore[arg-type]

    loop.set_task_factory(factory)  # type: ignore[arg-type]
    try:
        async with AgentTest(grouping) as t:
            await t.turn()
        assert loop.get_task_factory() is factory
        assert "Mortal" in made
        begun = len(made)
        await asyncio.create_task(asyncio.sleep(0))
        assert made[begun:] == ["coroutine"]
    finally:
        loop.set_task_factory(None)
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}  # type: ignore[union-attr]


async def test_it_is_used_within_its_block_and_once() -> None:
    t = AgentTest(grouping)
    for use in (t.turn, lambda: t.task("key"), t.crash_everywhere):
        with pytest.raises(RuntimeError, match="within its block"):
            await use()
    async with t:
        await t.turn()
        with pytest.raises(RuntimeError, match="entered once"):
            await t.__aenter__()
    with pytest.raises(RuntimeError, match="within its block"):
        await t.turn()
    with pytest.raises(RuntimeError, match="entered once"):
        await t.__aenter__()


async def test_a_cancelled_test_leaves_nothing_behind() -> None:
    begun = asyncio.Event()
    cleaned: list[bool] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "begun"
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    async def test() -> None:
        async with AgentTest(agent) as t:
            await t.turn()

    running = asyncio.create_task(test())
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert cleaned == [True]
    assert asyncio.all_tasks() == {asyncio.current_task()}
