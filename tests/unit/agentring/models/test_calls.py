"""A model call as a step of a run."""

from typing import Any

import pytest

from agentring.agent import Retry, Usage
from agentring.models import ModelFailed, Reply, ToolCall, assistant, complete, stream, system, tool_result, user
from harness.agent_context import FakeContext
from harness.scripted_model import ScriptedModel, broken

AT_ONCE = Retry(most_tries=3, first_wait_s=0, errors=(ModelFailed,))


async def test_text_and_reply_are_those_of_the_try_that_ended_well() -> None:
    ctx = FakeContext()
    answer = stream(ctx, ScriptedModel(["bad", broken()], ["go", "od", Reply("good")]), [user("x")], retry=AT_ONCE)
    with pytest.raises(RuntimeError, match="has not answered yet"):
        answer.reply  # noqa: B018
    assert "".join([text async for text in answer]) == "good"
    assert answer.reply.text == "good"
    assert ctx.usage == answer.reply.usage == Usage(model_calls=2)
    with pytest.raises(RuntimeError, match="read once"):
        [text async for text in answer]


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
