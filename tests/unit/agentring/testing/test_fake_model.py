"""The fake model answers from its script, and the same request always alike."""

from collections.abc import AsyncIterator

import pytest

from agentring.agent import AgentEvent, Context, StepFailed, tool
from agentring.models import ModelFailed, Reply, ToolCall, Usage, chat_agent, complete, stream, user
from agentring.testing import AgentTest, FakeModel


async def poet(model: FakeModel, ctx: Context) -> AsyncIterator[AgentEvent]:
    """Streams an answer."""
    async for text in stream(ctx, model, [user(ctx.input_text)]):
        yield text


async def test_its_words_come_one_by_one_and_are_all_of_the_text() -> None:
    model = FakeModel("  a poem \n about rain ")
    pieces = [piece async for piece in model.stream([user("rain")])]
    assert pieces[:-1] == ["  ", "a ", "poem \n ", "about ", "rain "]
    assert pieces[-1] == Reply("  a poem \n about rain ", usage=Usage(input_tokens=1, output_tokens=4, model_calls=1))


async def test_the_same_request_has_the_same_answer_and_another_one_the_next() -> None:
    model = FakeModel("one", lambda messages: messages[-1]["content"] * 2)
    async with AgentTest(lambda ctx: poet(model, ctx)) as t:
        t.crash(in_step=1)
        assert (await t.turn("a")).text == "one"
        await t.crash_everywhere("a")
        assert (await t.turn("b")).text == "bb"
        with pytest.raises(AssertionError, match="the script of the fake model has 2 entries"):
            await t.turn("c")
    assert len(model.requests) > 4


async def test_an_error_is_raised_once_and_tried_again() -> None:
    error = ModelFailed("fake", "here", "rate limit", is_retryable=True)
    model = FakeModel(error, "then", ModelFailed("fake", "here", "no such model"))

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            yield (await complete(ctx, model, [user(ctx.input_text)])).text
        except StepFailed as failed:
            yield failed.text

    async with AgentTest(agent) as t:
        assert (await t.turn("a")).text == "then"
        assert "no such model" in (await t.turn("b")).text


@tool
async def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


async def test_tools_are_called_and_their_results_come_back() -> None:
    calls = [ToolCall("1", "double", '{"number": 2}'), ToolCall("2", "double", '{"number": 3}')]
    model = FakeModel(calls, "4 and 6")
    async with AgentTest(chat_agent(model, tools=[double])) as t:
        turn = await t.turn("double 2 and 3")
    assert turn.text == "4 and 6"
    assert [use.result for use in turn.tools] == [4, 6]
    assert model.tools == [("double",), ("double",)]
    assert [message["content"] for message in model.requests[1][-2:]] == ["4", "6"]
