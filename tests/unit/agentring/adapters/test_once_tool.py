"""A tool of any framework runs once for its key, and the framework sees what the model is to fill in."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Mapping
from typing import Any, get_type_hints

import pytest

from agentring.adapters import current_context, ring_tool, within
from agentring.adapters.current import from_thread, in_loop
from agentring.agent import AgentEvent, Context
from agentring.testing import AgentTest


def order_of(args: Mapping[str, Any]) -> str:
    return f"charge-{args['order']}-{args['amount']}"


async def test_a_tool_runs_once_for_its_key_and_gets_what_the_run_hands_over() -> None:
    called: list[tuple[Any, ...]] = []

    @ring_tool(once=order_of)
    async def charge(order: str, amount: int = 5, *, idempotency_key: str, fencing_token: int) -> dict[str, int]:
        """Charges an order."""
        called.append((order, amount, bool(idempotency_key), fencing_token > 0))
        return {"paid": amount}

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with within(ctx):
            paid = await asyncio.gather(charge("a"), charge("a", amount=5), charge(order="b", amount=7))
        yield str(paid)

    async with AgentTest(agent) as test:
        assert (await test.turn("go")).text == "[{'paid': 5}, {'paid': 5}, {'paid': 7}]"
        assert (await test.turn("go")).text == "[{'paid': 5}, {'paid': 5}, {'paid': 7}]"
    assert sorted(called) == [("a", 5, True, True), ("b", 7, True, True)]
    assert list(inspect.signature(charge).parameters) == ["order", "amount"]
    assert get_type_hints(charge) == {"order": str, "amount": int, "return": dict[str, int]}
    assert (charge.__name__, charge.__doc__) == ("charge", "Charges an order.")


async def test_a_function_that_blocks_runs_in_a_thread_and_reaches_its_agent_from_there() -> None:
    import threading

    @ring_tool(once=lambda args: f"key-{args['number']}")
    def slow(number: int) -> list[str]:
        """Waits in its thread."""

        async def remembered() -> str:
            return str(await current_context().step("remember", remember, number))

        return [str(threading.current_thread() is threading.main_thread()), from_thread(remembered)]

    async def remember(number: int) -> str:
        return f"number {number}"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with within(ctx):
            yield str(await slow(1))

    async with AgentTest(agent) as test:
        assert (await test.turn("go")).text == "['False', 'number 1']"


async def test_a_tool_in_an_event_loop_of_its_own_is_run_in_the_agent_s() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    @ring_tool(once=lambda _: "key")
    async def tool() -> str:
        loops.append(asyncio.get_running_loop())
        return "done"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        loops.append(asyncio.get_running_loop())
        with within(ctx):
            yield await asyncio.to_thread(lambda: asyncio.run(tool()))  # type: ignore[arg-type]

    async with AgentTest(agent) as test:
        assert (await test.turn("go")).text == "done"
    assert loops[0] is loops[1]


async def test_outside_of_an_agent_and_in_the_wrong_thread_it_says_what_to_do() -> None:
    @ring_tool(once=lambda _: "key")
    async def tool() -> str:
        return "done"

    with pytest.raises(RuntimeError, match="run the framework by its adapter"):
        await tool()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with within(ctx):
            with pytest.raises(RuntimeError, match="await the async method"):
                from_thread(lambda: ctx.now())
            yield str(await in_loop(lambda: asyncio.sleep(0, "here")))
        with pytest.raises(RuntimeError):
            current_context()

    async with AgentTest(agent) as test:
        assert (await test.turn("go")).text == "here"
