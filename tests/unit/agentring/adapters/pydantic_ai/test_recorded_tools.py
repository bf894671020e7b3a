"""Tools of Pydantic AI, of whatever toolset, are steps of the turn."""

import threading
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from pydantic_ai import (
    Agent,
    ApprovalRequired,
    BinaryContent,
    CallDeferred,
    ModelRetry,
    RunContext,
    ToolReturn,
)
from pydantic_ai.messages import ModelMessage, ModelRequest, RetryPromptPart
from pydantic_ai.models.test import TestModel
from pydantic_ai.toolsets import FunctionToolset

from agentring.adapters import current_context
from agentring.adapters.pydantic_ai import pydantic_ai_agent
from agentring.testing import AgentTest
from harness.pydantic_ai_model import ShopModel, call, results, says_results


@dataclass
class Kept:
    item: str
    count: int


async def test_a_picture_of_a_tool_is_one_for_the_model() -> None:
    agent: Agent[Any, Any] = Agent(says_results(call("draw", "1")), output_type=str)

    @agent.tool_plain
    async def draw() -> BinaryContent:
        return BinaryContent(b"png", media_type="image/png")

    async with AgentTest(pydantic_ai_agent(agent)) as t:
        turn = await t.turn("draw")
    assert "image/png" in turn.text


TOOLS: dict[str, Any] = {
    "a text": "found",
    "a number": 4,
    "nothing": None,
    "JSON": {"degrees": [4, None]},
    "a dataclass": Kept("tea", 2),
    "a date": date(2026, 1, 2),
    "a picture": BinaryContent(b"\x00", media_type="image/png"),
    "with content beside it": ToolReturn("found", content="see", metadata={"seen": 1}),
    "what looks like one": {"kind": "tool-return", "x": 1},
}


@pytest.mark.parametrize("kind", TOOLS)
async def test_the_model_hears_a_tools_result_as_the_framework_says_it(kind: str) -> None:
    def heard_of(model: ShopModel) -> list[Any]:
        parts = [part for message in model.calls[-1] if isinstance(message, ModelRequest) for part in message.parts]
        return [
            part.model_response_str() if part.part_kind == "tool-return" else getattr(part, "content", None)
            for part in parts
        ]

    async def look() -> Any:
        return TOOLS[kind]

    def model() -> ShopModel:
        return ShopModel(lambda heard: ["so"] if len(heard) > 1 else [call("look", "1")])

    plain, recorded = model(), model()
    async with Agent(plain, tools=[look]).run_stream("go") as stream:
        await stream.get_output()
    async with AgentTest(pydantic_ai_agent(Agent(recorded, tools=[look]))) as t:
        await t.turn("go")
    assert heard_of(recorded) == heard_of(plain)


async def test_a_model_tries_again_where_a_tool_says_so_in_later_attempts_too() -> None:
    def retries(heard: list[ModelMessage]) -> list[Any]:
        parts = [part for message in heard for part in message.parts]
        again = [
            part for part in parts if isinstance(part, RetryPromptPart) or getattr(part, "outcome", "") == "failed"
        ]
        return (
            [f"{results(heard)[-1]}"]
            if results(heard)[-1:] == ["fine"]
            else [call("look", f"{len(again)}", n=len(again))]
        )

    runs: list[int] = []
    model = ShopModel(retries)
    agent = Agent(model, toolsets=[FunctionToolset([])])

    @agent.tool_plain(retries=3)
    async def look(n: int) -> str:
        runs.append(n)
        if len(runs) < 3:
            raise ModelRetry("not so")
        return "fine"

    async with AgentTest(pydantic_ai_agent(agent)) as t:
        t.crash(after_step=4)
        turn = await t.turn("go")
    assert (turn.text, turn.attempts, len(runs)) == ("fine", 2, 3)


async def test_a_tool_may_ask_for_approval_or_for_its_result_by_itself() -> None:
    agent = Agent(says_results(call("pay", "1", amount=70), call("phone", "2")), deps_type=object)

    @agent.tool
    async def pay(ctx: RunContext[Any], amount: int) -> str:
        if not ctx.tool_call_approved:
            raise ApprovalRequired(metadata={"amount": amount})
        return "paid"

    @agent.tool_plain
    async def phone() -> str:
        raise CallDeferred

    async with AgentTest(pydantic_ai_agent(agent)) as t:
        t.answers("yes", "they said no")
        turn = await t.turn("go")
    assert turn.questions == ('May I call pay({"amount":70})? yes or no', "What is the result of phone({})?")
    assert turn.text == "['paid', 'they said no']"


async def test_toolsets_need_no_id_and_may_be_made_anew_in_each_run() -> None:
    async def look() -> str:
        return "found"

    async def search() -> str:
        return "seen"

    agent = Agent(says_results(call("look", "1"), call("search", "2")), toolsets=[FunctionToolset([look])])

    @agent.toolset
    def made(_: RunContext[Any]) -> FunctionToolset[Any]:
        return FunctionToolset([search])

    async with AgentTest(pydantic_ai_agent(agent)) as t:
        turn = await t.turn("hi")
    assert turn.text == "['found', 'seen']"
    assert sorted(step.name for step in turn.steps) == ["look", "model", "model", "search"]


async def test_an_agent_that_is_asked_by_a_tool_is_a_part_of_its_step() -> None:
    inner = Agent(TestModel(custom_output_text="from within"))
    agent = Agent(says_results(call("ask", "1")))

    @agent.tool_plain
    async def ask() -> str:
        return (await inner.run("go")).output

    async with AgentTest(pydantic_ai_agent(agent)) as t:
        turn = await t.turn("hi")
    assert turn.text == "['from within']"
    assert [step.name for step in turn.steps] == ["model", "ask", "model"]


async def test_a_tool_that_does_not_await_runs_in_a_thread_of_the_turn() -> None:
    agent = Agent(says_results(call("whose", "1")))

    @agent.tool_plain
    def whose() -> str:
        assert threading.current_thread() is not threading.main_thread()
        return current_context().turn_id

    async with AgentTest(pydantic_ai_agent(agent)) as t:
        assert (await t.turn("hi")).text == "['turn-1']"
