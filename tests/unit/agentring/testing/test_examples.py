"""Every public name of agentring.testing has an example in its docstring, and each runs."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import agentring.testing
from agentring import pytest_plugin
from agentring.agent import Agent, AgentEvent, Context, Result, tool
from agentring.models import ToolCall, chat_agent
from agentring.testing import AgentTest, Effect
from harness.docstrings import compiled, example

_PRICES = {"tea": 3, "cake": 5}


class InProcess(AgentTest):
    """What the examples of clusters run on here; tests/integration/test_testing_on_a_cluster.py tries a cluster."""

    @staticmethod
    def cluster(agent: Agent, **_: Any) -> Any:
        return AgentTest(agent)


async def counter(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Counts its turns in a step."""
    await ctx.step("nothing", asyncio.sleep, 0)
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1
    yield Result({"turns": ctx.state["turns"]})


async def greeter(ctx: Context) -> AsyncIterator[AgentEvent]:
    """That of agentring.agent's own first example."""
    ctx.state["greeted"] = ctx.state.get("greeted", 0) + 1
    yield f"Hello for the {ctx.state['greeted']}. time, "
    yield "nice to see you."
    yield Result({"greeted": ctx.state["greeted"]})


def assistant(charge: Effect) -> Any:
    """Does what the examples say to it."""

    async def look_up(item: str) -> int:
        return _PRICES[item]

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        match ctx.input_text:
            case "buy" | "buy tea":
                if ctx.input_text == "buy":
                    await ctx.ask("sure?")
                await ctx.step("charge", charge, 7, idempotency_key=ctx.idempotency_key)
                await ctx.step("ship", asyncio.sleep, 0)
                await ctx.step("mail", asyncio.sleep, 0)
                yield "bought"
            case "pay without a step":
                yield await charge(7)
            case "wait":
                await asyncio.Event().wait()
            case "what is due?":
                yield "the dentist" if (await ctx.now()).day == 2 else "nothing"
            case "remind me tomorrow" | "report":
                yield "yes"
            case "" if ctx.input_data:
                yield Result({"month": ctx.input_data["month"]})
            case item:
                price = await ctx.tool("look_up", look_up, item=item)
                yield f"{item} is {price}"
                yield Result({"total": price})

    return agent


@tool
async def look_up_price(item: str) -> int:
    """What something costs."""
    return _PRICES[item]


def documented() -> Iterator[tuple[str, Any]]:
    """The public names, and the methods of the classes that have some of their own."""
    for name in agentring.testing.__all__:
        found = getattr(agentring.testing, name)
        if inspect.isclass(found):
            yield name, found
    for kind in (AgentTest, agentring.testing.TestClock):
        for name, attribute in vars(kind).items():
            member = attribute.__func__ if isinstance(attribute, staticmethod) else attribute
            if inspect.isfunction(member) and not name.startswith("_") and name not in _NODES_OWN:
                yield f"{kind.__name__}.{name}", member
    yield "agent_test", inspect.unwrap(pytest_plugin.agent_test)


_NODES_OWN = ("now_s", "now_ns", "sleep", "timeout")
"""What the node itself asks of the test's clock."""
_SHOWN = ("Step", "ToolUse", "CrashReport", "EffectCall")
"""Whose examples look at a turn that has been."""


@pytest.mark.parametrize(("name", "found"), [pytest.param(*each, id=each[0]) for each in documented()])
async def test_the_example_runs(name: str, found: Any) -> None:
    code = example(inspect.getdoc(found) or "")
    assert code, f"{name} has no example"
    charge = Effect(lambda amount, idempotency_key="": "receipt", "charge")
    agent = assistant(charge)
    names: dict[str, Any] = {
        **vars(agentring.testing),
        "pytest": pytest,
        "greeter": greeter,
        "counter": counter,
        "AgentTest": InProcess,
        "reminder": agent,
        "shop": agent,
        "outbox": [],
        "charge": charge,
        "shop_with": assistant,
        "ToolCall": ToolCall,
        "chat_agent": chat_agent,
        "look_up_price": look_up_price,
    }
    async with AgentTest(agent) as t:
        if name not in ("QuestionUnanswered", "AgentTest.answers"):
            t.answers(lambda _: "yes")
        if name in _SHOWN:
            t.crash(after_step=1)
            names["turn"] = await t.turn("buy tea")
        if name == "ToolUse":
            names["turn"] = await t.turn("tea")
        names["t"] = t
        exec(compiled(code, name, "return locals()"), names)
        made = await names["example"]()
        for test in [value for key, value in made.items() if key.startswith("test_")]:
            await test(*([AgentTest] if inspect.signature(test).parameters else []))
