"""A model call as a step of a run."""

from typing import Any

import pytest

from agentring.agent import Retry, StepFailed, Usage
from agentring.models import (
    ModelFailed,
    ModelStream,
    Reply,
    ToolCall,
    assistant,
    complete,
    stream,
    system,
    tool_result,
    user,
)
from harness.agent_context import FakeContext
from harness.scripted_model import ScriptedModel, Try, broken

AT_ONCE = Retry(most_tries=3, first_wait_s=0, errors=(ModelFailed,))


async def said(*script: Try) -> tuple[list[str], ModelStream, FakeContext]:
    """What a stream hands on."""
    ctx = FakeContext()
    answer = stream(ctx, ScriptedModel(*script), [user("x")], retry=AT_ONCE)
    with pytest.raises(RuntimeError, match="has not answered yet"):
        answer.reply  # noqa: B018
    return [text async for text in answer], answer, ctx


async def test_the_pieces_come_then_the_reply_and_its_usage() -> None:
    pieces, answer, ctx = await said(["go", "od", Reply("good", usage=Usage(3, 2, 1, 1))])
    assert pieces == ["go", "od"]
    assert answer.reply == Reply("good", usage=Usage(3, 2, 1, 1))
    assert ctx.usage == Usage(3, 2, 1, 1)
    with pytest.raises(StopAsyncIteration):
        await anext(answer)
    assert ctx.usage == Usage(3, 2, 1, 1)


async def test_a_broken_try_is_made_good_by_one_that_says_the_same() -> None:
    pieces, answer, ctx = await said(
        ["one ", "two ", broken()], ["on", broken()], ["one tw", "o three", Reply("one two three")]
    )
    assert pieces == ["one ", "two ", "three"]
    assert answer.reply.text == "one two three"
    assert ctx.usage.model_calls == 3


@pytest.mark.parametrize("second", [["two", Reply("two")], ["on", Reply("on")], [Reply("")]])
async def test_what_was_handed_on_and_is_not_said_again_fails_the_call(second: Try) -> None:
    with pytest.raises(StepFailed, match=r"ModelFailed: .*broke off after 4 characters, and the next try did not say"):
        await said(["one ", broken()], second)


async def test_a_try_that_breaks_off_before_its_first_piece_may_be_followed_by_any_other() -> None:
    pieces, answer, _ = await said([broken()], ["two", Reply("two")])
    assert (pieces, answer.reply.text) == (["two"], "two")


async def test_who_leaves_a_stream_ends_its_try_and_has_no_reply() -> None:
    model = ScriptedModel(["a", "b", Reply("ab")])
    async with stream(FakeContext(), model, [user("x")]) as answer:
        assert await anext(answer) == "a"
        assert model.open == 1
    assert model.open == 0
    with pytest.raises(RuntimeError, match="has not answered"):
        answer.reply  # noqa: B018


async def test_a_whole_answer_has_no_broken_tries_whatever_they_said() -> None:
    ctx = FakeContext()
    reply = await complete(
        ctx, ScriptedModel(["bad", broken()], ["go", "od", Reply("good")]), [user("x")], retry=AT_ONCE
    )
    assert reply.text == "good"
    assert ctx.usage == reply.usage == Usage(model_calls=2)


async def test_a_whole_answer_is_had_without_its_pieces() -> None:
    call = ToolCall("1", "look", "{}")
    ctx = FakeContext()
    assert (await complete(ctx, ScriptedModel([Reply("", (call,))]), [user("x")])).tool_calls == (call,)


async def test_a_call_is_one_step_with_a_key_of_its_messages() -> None:
    steps: list[tuple[str, Any]] = []

    class Noting(FakeContext):
        async def step(self, name: str, function: Any, /, *args: Any, key: str | None = None, **_: Any) -> Any:
            steps.append((name, key))
            return await function(*args)

    for text in ("a", "b", "a"):
        await complete(Noting(), ScriptedModel([Reply("")]), [system("s"), user(text)])
    await complete(Noting(), ScriptedModel([Reply("")]), [user("a")], name="judge", key="first")
    assert steps[0] == steps[2] != steps[1]
    assert {name for name, _ in steps[:3]} == {"model"}
    assert steps[3] == ("judge", "first")


async def test_messages_that_are_no_json_are_refused_before_anything_is_called() -> None:
    model = ScriptedModel()
    with pytest.raises(TypeError):
        await complete(FakeContext(), model, [{"role": "user", "content": {1, 2}}])
    assert model.requests == []


def test_a_conversation_is_plain_json() -> None:
    call = ToolCall("1", "look", '{"at": "Oslo"}')
    function = {"name": "look", "arguments": '{"at": "Oslo"}'}
    assert assistant(Reply("", (call,))) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }
    assert assistant(Reply("hi")) == {"role": "assistant", "content": "hi"}
    assert tool_result(call, {"é": 1}) == {"role": "tool", "tool_call_id": "1", "content": '{"é": 1}'}
    assert tool_result(call, "as it is")["content"] == "as it is"
