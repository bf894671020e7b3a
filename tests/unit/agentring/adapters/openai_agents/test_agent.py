"""Agents of the OpenAI Agents SDK run unchanged: their words, tools, questions, handoffs and outputs are the turn's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from agents import (
    Agent,
    ModelProvider,
    RunConfig,
    RunContextWrapper,
    Runner,
    ToolOutputImage,
    ToolOutputText,
    function_tool,
    handoff,
)
from agents.items import TResponseOutputItem
from agents.testing import function_call
from pydantic import BaseModel

from agentring.adapters.openai_agents import openai_agents_agent
from agentring.agent import AgentEvent, Context
from agentring.testing import AgentTest
from harness.sdk_model import SdkModel, results
from harness.sdk_shop import Shop

Said = Sequence[str | TResponseOutputItem]


async def test_words_tools_questions_and_usage_are_the_turns() -> None:
    shop = Shop()
    async with AgentTest(openai_agents_agent(shop.agent)) as t:
        t.answers("yes")
        turn = await t.turn("tea")
        assert turn.text == "Let me look. 4 tea ordered, milk 0"
        assert turn.questions == ('May I call order({"item":"tea","count":"4"})? yes or no',)
        assert sorted(call.name for call in turn.tools) == ["order", "stock", "stock"]
        assert [step.name for step in turn.steps if step.name == "model"] == ["model"] * 3
        usage = turn.events[-1].raw.turn_completed.usage
        assert (usage.model_calls, usage.output_tokens, usage.cached_tokens) == (3, 6, 3)
        t.answers({"approve": False, "reason": "too much"})
        refused = await t.turn("tea")
        assert refused.text == "Let me look. The user did not allow this call: too much, milk 0"
    heard = shop.model.calls[-1]
    assert [item["content"] for item in heard if item.get("role") == "user"] == ["tea", "tea"], "it remembers"
    assert shop.ordered == ["tea"]


async def test_nobody_to_ask_is_no_consent() -> None:
    shop = Shop()
    async with AgentTest(openai_agents_agent(shop.agent)) as t:
        task = await t.task("job", "tea")
    assert task.text == "Let me look. The user did not allow this call: nobody is there to ask, milk 0"
    assert shop.ordered == []


@pytest.mark.parametrize("with_items", [False, True])
async def test_agents_hand_over_to_each_other_in_a_circle(with_items: bool) -> None:
    def first(instructions: str | None, heard: list[Any]) -> Said:
        if instructions == "front":
            return [function_call("transfer_to_back", {}, call_id=f"c{len(heard)}")]
        if any(item.get("type") == "function_call_output" and "front" in str(item["output"]) for item in heard):
            return ["done"]
        return ["from the back"]

    model = SdkModel(first, items_apart=with_items)
    back = Agent(name="back", instructions="back", model=model)
    front = Agent(name="front", instructions="front", model=model, handoffs=[handoff(back) if with_items else back])
    back.handoffs = [front]
    async with AgentTest(openai_agents_agent(front)) as t:
        assert (await t.turn("hi")).text == "from the back"
    assert front.model is model, "the author's agents stay as they are"
    assert back.handoffs == [front]


@dataclass
class Order:
    item: str
    count: int


class OrderModel(BaseModel):
    item: str
    on: date


@pytest.mark.parametrize(
    ("kind", "said", "result"),
    [
        (Order, '{"response": {"item": "tea", "count": 2}}', {"item": "tea", "count": 2}),
        (OrderModel, '{"item": "tea", "on": "2026-01-02"}', {"item": "tea", "on": "2026-01-02"}),
        (list[int], '{"response": [1, 2]}', {"output": [1, 2]}),
    ],
)
async def test_an_output_that_is_no_text_is_the_result(kind: Any, said: str, result: dict[str, Any]) -> None:
    model = SdkModel(lambda instructions, heard: [said])
    async with AgentTest(openai_agents_agent(Agent(name="a", model=model, output_type=kind))) as t:
        turn = await t.turn("two tea")
    assert (turn.text, turn.result) == ("", result)


OUTPUTS: dict[str, tuple[Any, Any]] = {
    "text": ("found", "found"),
    "a number": (4, "4"),
    "JSON": ({"degrees": 4}, "{'degrees': 4}"),
    "a text of the SDK's": (ToolOutputText(text="found"), [{"type": "input_text", "text": "found"}]),
    "one of a dict": ({"type": "text", "text": "found"}, [{"type": "input_text", "text": "found"}]),
    "several": (
        [ToolOutputText(text="see"), ToolOutputImage(image_url="data:image/png;base64,AA==")],
        [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "data:image/png;base64,AA=="}],
    ),
}


@pytest.mark.parametrize("kind", OUTPUTS)
async def test_the_model_is_told_a_tools_output_as_the_sdk_tells_it(kind: str) -> None:
    returned, heard = OUTPUTS[kind]

    @function_tool
    async def look() -> Any:
        return returned

    def say(instructions: str | None, items: list[Any]) -> Said:
        return ["so"] if results(items) else [function_call("look", {}, call_id="1")]

    plain, recorded = SdkModel(say, streams=False), SdkModel(say)
    agent = Agent(name="a", model=plain, tools=[look])
    await Runner.run(agent, "go")
    async with AgentTest(openai_agents_agent(agent.clone(model=recorded))) as t:
        await t.turn("go")
    assert results(recorded.calls[-1]) == results(plain.calls[-1]) == [heard]


async def test_a_model_by_its_name_comes_from_the_provider() -> None:
    class Provider(ModelProvider):
        def get_model(self, model_name: str | None) -> SdkModel:
            return SdkModel(lambda instructions, heard: [f"I am {model_name}"])

    agent = Agent(name="a", model="parrot-1")
    async with AgentTest(openai_agents_agent(agent, run_config=RunConfig(model_provider=Provider()))) as t:
        turn = await t.turn("hi")
    assert turn.text == "I am parrot-1"
    assert [step.name for step in turn.steps] == ["model"]


async def test_tools_see_the_context_that_the_author_makes() -> None:
    seen: list[Any] = []

    @function_tool
    async def note(context: RunContextWrapper[Any]) -> str:
        seen.append(context.context)
        return "noted"

    def say(instructions: str | None, heard: list[Any]) -> Said:
        return ["so"] if results(heard) else [function_call("note", {}, call_id="1")]

    agent = Agent(name="a", model=SdkModel(say), tools=[note])
    async with AgentTest(openai_agents_agent(agent, context=lambda ctx: ("mine", ctx.turn_id))) as t:
        await t.turn("hi")
    async with AgentTest(openai_agents_agent(agent)) as t:
        await t.turn("hi")
    assert seen[0] == ("mine", "turn-1")
    assert seen[1].turn_id == "turn-1"


async def test_what_the_sdk_raises_fails_the_turn_and_leaves_the_conversation_as_it_was() -> None:
    model = SdkModel(lambda instructions, heard: [function_call("nothing_of_the_kind", {}, call_id=f"{len(heard)}")])
    agent = Agent(name="a", model=model)
    async with AgentTest(openai_agents_agent(agent)) as t:
        turn = await t.turn("hi", fails="AGENT_ERROR")
        assert "nothing_of_the_kind" in repr(turn.error)
        assert t.state == {}


async def test_nothing_goes_on_when_the_turn_is_left() -> None:
    begun, cut_off = asyncio.Event(), asyncio.Event()

    @function_tool
    async def hang() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()
        return ""

    model = SdkModel(lambda instructions, heard: [function_call("hang", {}, call_id="1")])
    inner = openai_agents_agent(Agent(name="a", model=model, tools=[hang]))

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


NO_ARGUMENTS = {
    "no JSON": "no json",
    "NaN": '{"count": NaN}',
    "a list": "[]",
    "deep": "{" * 5_000,
}


@pytest.mark.parametrize("arguments", NO_ARGUMENTS.values(), ids=NO_ARGUMENTS)
async def test_arguments_that_are_none_are_told_to_the_model_as_the_sdk_tells_it(arguments: str) -> None:
    called: list[float] = []

    @function_tool
    async def count(count: int) -> str:
        called.append(count)
        return "counted"

    def say(instructions: str | None, items: list[Any]) -> Said:
        if results(items):
            return ["so"]
        call = function_call("count", {}, call_id="c" * 5_000)
        return [call.model_copy(update={"arguments": arguments})]

    plain, recorded = SdkModel(say, streams=False), SdkModel(say)
    agent = Agent(name="a", model=plain, tools=[count])
    await Runner.run(agent, "go")
    async with AgentTest(openai_agents_agent(agent.clone(model=recorded))) as t:
        assert (await t.turn("go")).text == "so"
    assert results(recorded.calls[-1]) == results(plain.calls[-1])
    assert len(called) in (0, 2)
