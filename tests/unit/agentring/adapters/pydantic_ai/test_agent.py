"""Agents of Pydantic AI run unchanged: their words, tools, questions and outputs are the turn's."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    NativeOutput,
    RunContext,
    UsageLimits,
)
from pydantic_ai.capabilities import AbstractCapability, durable_operation
from pydantic_ai.messages import ModelMessage

from agentring.adapters.pydantic_ai import pydantic_ai_agent
from agentring.agent import AgentEvent, Context
from agentring.testing import AgentTest
from harness.pydantic_ai_model import ShopModel, call, prompts, says_results
from harness.pydantic_ai_shop import Shop


async def test_words_tools_questions_and_usage_are_the_turns() -> None:
    shop = Shop()
    async with AgentTest(pydantic_ai_agent(shop.agent)) as t:
        t.answers("yes")
        turn = await t.turn("tea")
        assert turn.text == "Let me look. 4 tea ordered, milk 0"
        assert turn.questions == ('May I call order({"item":"tea","count":4})? yes or no',)
        assert sorted(call.name for call in turn.tools) == ["order", "stock", "stock"]
        assert [step.name for step in turn.steps if step.name == "model"] == ["model"] * 3
        usage = turn.events[-1].raw.turn_completed.usage
        assert usage.model_calls == 3
        assert usage.input_tokens > usage.output_tokens > 10
        t.answers({"approve": False, "reason": "too much"})
        refused = await t.turn("tea")
        assert refused.text == "Let me look. The user did not allow this call: too much, milk 0"
    assert prompts(shop.model.calls[-1]) == ["tea", "tea"], "it remembers"
    assert shop.model.instructions == ["Sell tea."] * 6
    assert shop.ordered == ["tea"]


async def test_nobody_to_ask_is_no_consent() -> None:
    shop = Shop()
    async with AgentTest(pydantic_ai_agent(shop.agent)) as t:
        task = await t.task("job", "tea")
    assert task.text == "Let me look. The user did not allow this call: nobody is there to ask, milk 0"
    assert shop.ordered == []


async def test_a_tools_call_comes_after_the_words_before_it() -> None:
    shop = Shop()
    async with AgentTest(pydantic_ai_agent(shop.agent)) as t:
        t.answers("no")
        turn = await t.turn("tea")
    kinds = [event.raw.WhichOneof("body") for event in turn.events]
    before = [event.raw.text_delta.text for event in turn.events[: kinds.index("tool_call")]]
    assert "".join(before) == "Let me look. "


@dataclass
class Order:
    item: str
    count: int


class OrderModel(BaseModel):
    item: str
    on: date


OUTPUTS: dict[str, tuple[Any, Any, str, Any]] = {
    "a dataclass": (Order, call("final_result", "1", item="tea", count=2), "", {"item": "tea", "count": 2}),
    "a model": (
        OrderModel,
        call("final_result", "1", item="tea", on="2026-01-02"),
        "",
        {"item": "tea", "on": "2026-01-02"},
    ),
    "a list": (list[int], call("final_result", "1", response=[1, 2]), "", {"output": [1, 2]}),
    "JSON as text": (NativeOutput(Order), '{"item": "tea", "count": 2}', "", {"item": "tea", "count": 2}),
    "words or a dataclass": ([str, Order], "nothing", "nothing", None),
}


@pytest.mark.parametrize("kind", OUTPUTS)
async def test_an_output_that_is_no_text_is_the_result(kind: str) -> None:
    output, said, text, result = OUTPUTS[kind]
    agent: Agent[Any, Any] = Agent(ShopModel(lambda heard: [said]), output_type=output)
    async with AgentTest(pydantic_ai_agent(agent)) as t:
        turn = await t.turn("two tea")
    assert (turn.text, turn.result) == (text, result)


async def test_an_output_of_a_function_is_said_where_the_model_has_not() -> None:
    def shout(word: str) -> str:
        """Shouts."""
        return word.upper()

    model = ShopModel(lambda heard: [call("final_result", "1", word="tea")])
    async with AgentTest(pydantic_ai_agent(Agent(model, output_type=shout))) as t:
        assert (await t.turn("hi")).text == "TEA"


async def test_tools_see_the_dependencies_that_the_author_makes() -> None:
    seen: list[Any] = []
    agent = Agent(says_results(call("note", "1")), deps_type=object)

    @agent.tool
    async def note(ctx: RunContext[Any]) -> str:
        seen.append(ctx.deps)
        return "noted"

    async with AgentTest(pydantic_ai_agent(agent, deps=lambda ctx: ("mine", ctx.turn_id))) as t:
        await t.turn("hi")
    async with AgentTest(pydantic_ai_agent(agent)) as t:
        await t.turn("hi")
    assert seen[0] == ("mine", "turn-1")
    assert seen[1].turn_id == "turn-1"


async def test_a_model_that_is_put_in_the_place_of_the_agents_is_recorded_as_well() -> None:
    second = ShopModel(lambda heard: ["I am the second"])
    agent = Agent(ShopModel(lambda heard: ["I am the first"]))
    with agent.override(model=second):
        async with AgentTest(pydantic_ai_agent(agent)) as t:
            t.crash(at_end=True)
            turn = await t.turn("hi")
    assert (turn.text, turn.attempts, len(second.calls)) == ("I am the second", 2, 1)


async def test_what_the_framework_raises_fails_the_turn_and_leaves_the_conversation_as_it_was() -> None:
    agent = Agent(ShopModel(lambda heard: [call("nothing_of_the_kind", f"{len(heard)}")]))
    async with AgentTest(pydantic_ai_agent(agent, usage_limits=UsageLimits(request_limit=1))) as t:
        turn = await t.turn("hi", fails="AGENT_ERROR")
        assert "request_limit" in repr(turn.error)
        assert t.state == {}
    async with AgentTest(pydantic_ai_agent(Agent())) as t:
        assert "model" in repr((await t.turn("hi", fails="AGENT_ERROR")).error)


async def test_what_a_model_raises_is_in_the_error() -> None:
    def refuses(heard: list[ModelMessage]) -> list[Any]:
        raise ConnectionError("no such endpoint")

    async with AgentTest(pydantic_ai_agent(Agent(ShopModel(refuses)))) as t:
        turn = await t.turn("hi", fails="AGENT_ERROR")
    assert str(turn.error) == "the step model failed: ConnectionError: no such endpoint"


@pytest.mark.parametrize("where", ["tool", "model"])
async def test_nothing_goes_on_when_the_turn_is_left(where: str) -> None:
    begun, cut_off = asyncio.Event(), asyncio.Event()

    async def hang() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()
        return ""

    class Hanging(ShopModel):
        async def _says(self, *_: Any) -> AsyncIterator[Any]:
            yield "one "
            yield await hang()

    model = Hanging(lambda heard: []) if where == "model" else ShopModel(lambda heard: [call("hang", "1")])
    inner = pydantic_ai_agent(Agent(model, tools=[hang]))

    async def leaves(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def read() -> None:
            async for _ in inner(ctx):
                pass

        reading = asyncio.ensure_future(read())
        await begun.wait()
        reading.cancel()
        await asyncio.wait([reading])
        yield str(cut_off.is_set())

    async with AgentTest(leaves) as t:
        assert (await t.turn("hi")).text == "True"


async def test_the_system_prompt_outlives_the_turn_that_began_with_it() -> None:
    model = ShopModel(lambda heard: ["so"])
    async with AgentTest(pydantic_ai_agent(Agent(model, system_prompt="Sell tea."), history_bytes=1_500)) as t:
        for number in range(5):
            await t.turn(f"{number}")
    systems = [[part.content for part in heard[0].parts if part.part_kind == "system-prompt"] for heard in model.calls]
    assert systems == [["Sell tea."]] * 5
    assert "0" not in prompts(model.calls[-1])
    assert prompts(model.calls[-1])[-2:] == ["3", "4"]


async def test_what_a_capability_declares_as_durable_is_a_step() -> None:
    looked: list[str] = []

    class Weather(AbstractCapability[Any]):
        id = "weather"

        @durable_operation(name="look")
        async def look(self, ctx: RunContext[Any], city: str) -> str:
            looked.append(city)
            return f"rain in {city}"

        async def before_run(self, ctx: RunContext[Any]) -> None:
            looked.append(await self.look(ctx, "Oslo"))

    agent = Agent(ShopModel(lambda heard: ["so"]), name="a", capabilities=[Weather()])
    async with AgentTest(pydantic_ai_agent(agent)) as t:
        turn = await t.turn("hi")
    assert [step.name for step in turn.steps] == ["a__capability__weather.look", "model"]
    assert looked == ["Oslo", "rain in Oslo"]
