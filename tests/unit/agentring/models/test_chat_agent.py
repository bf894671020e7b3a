"""An agent that is a model with tools."""

import asyncio
from typing import Any

import pytest

from agentring.agent import NodeFenced, Tool, tool
from agentring.client import TurnCompleted
from agentring.models import Message, Reply, ToolCall, chat_agent
from agentring.testing import AgentTest, Effect, FakeModel
from harness.agent_context import FakeContext, run_agent
from harness.scripted_model import ScriptedModel


@tool
async def double(number: int) -> int:
    """Doubles."""
    return 2 * number


@tool
async def fail(why: str) -> str:
    """Fails."""
    raise LookupError(why)


def wants(*calls: tuple[str, str], text: str = "") -> list[str | Reply | Exception]:
    """An answer that calls tools."""
    made = tuple(ToolCall(f"c{number}", *call) for number, call in enumerate(calls))
    return [*([text] if text else []), Reply(text, made, finish_reason="tool_calls")]


def results(model: ScriptedModel) -> list[str]:
    """What the model was told of its calls, with its last request."""
    return [message["content"] for message in model.requests[-1] if message["role"] == "tool"]


async def test_it_calls_tools_until_the_model_has_answered() -> None:
    model = ScriptedModel(
        wants(("double", '{"number": 4}'), ("double", '{"number": 5}'), text="Let me see. "),
        ["It is 8.", Reply("It is 8.")],
    )
    ctx = FakeContext("twice 4?", {"unit": "m"})
    said, result = await run_agent(chat_agent(model, instructions="Be brief.", tools=[double]), ctx)
    assert "".join(said) == "Let me see. It is 8."
    assert result == {"finish_reason": "stop", "rounds": 2}
    assert model.requests[0] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": 'twice 4?\n\n{"unit": "m"}'},
    ]
    assert results(model) == ["8", "10"]
    assert ctx.usage.model_calls == 2


async def test_it_remembers_earlier_turns_but_not_the_instructions() -> None:
    model = ScriptedModel(["a", Reply("a")], ["b", Reply("b")])
    agent = chat_agent(model, instructions="Now so.")
    state: dict[str, Any] = {}
    await run_agent(agent, FakeContext("first", state=state))
    await run_agent(agent, FakeContext("second", state=state))
    assert [message["content"] for message in model.requests[1]] == ["Now so.", "first", "a", "second"]
    assert [message["role"] for turn in state["conversation"] for message in turn] == ["user", "assistant"] * 2


async def test_what_is_wrong_with_a_call_is_told_to_the_model() -> None:
    calls = (("fail", '{"why": "no such"}'), ("double", "{"), ("double", '{"number": "x"}'), ("nothing", "{}"))
    model = ScriptedModel(wants(*calls), [Reply("")])
    await run_agent(chat_agent(model, tools=[double, fail]), FakeContext("x"))
    failed, no_json, no_number, unknown = results(model)
    assert failed == "The call failed: LookupError: no such"
    assert no_json.startswith("The call failed: ToolArgumentInvalid")
    assert no_number.startswith("The call failed: ToolArgumentInvalid")
    assert unknown == "There is no tool nothing. Tools: double, fail."


async def test_calls_of_one_answer_run_side_by_side() -> None:
    both = asyncio.Barrier(2)

    async def meet() -> str:
        await both.wait()
        return "met"

    model = ScriptedModel(wants(("meet", ""), ("meet", "{}")), [Reply("")])
    await run_agent(chat_agent(model, tools=[Tool(meet)]), FakeContext("x"))
    assert results(model) == ["met", "met"]


@pytest.mark.parametrize(("answer", "expected"), [("Yes.", "8"), ("no", "The user did not allow this call.")])
async def test_a_tool_that_needs_consent_is_called_after_a_yes(answer: str, expected: str) -> None:
    model = ScriptedModel(wants(("double", '{"number": 4}')), [Reply("")])
    ctx = FakeContext("x", answers=[answer])
    await run_agent(chat_agent(model, tools=[double], asks_before=["double"]), ctx)
    assert ctx.asked == ['May I call double({"number": 4})? yes or no']
    assert results(model) == [expected]


async def test_where_nobody_can_consent_nothing_is_called() -> None:
    model = ScriptedModel(wants(("double", '{"number": 4}')), [Reply("")])
    await run_agent(chat_agent(model, tools=[double], asks_before=["double"]), FakeContext("x", answers=None))
    assert results(model) == ["The user did not allow this call."]


async def test_a_model_that_never_ends_is_stopped_after_the_most_rounds() -> None:
    model = ScriptedModel(*(wants(("double", '{"number": 1}')) for _ in range(3)))
    _, result = await run_agent(chat_agent(model, tools=[double], most_rounds=3), FakeContext("x"))
    assert result == {"finish_reason": "rounds", "rounds": 3}


async def test_what_ends_the_run_is_not_told_to_the_model() -> None:
    @tool
    async def fenced() -> None:
        raise NodeFenced

    model = ScriptedModel(wants(("fenced", "{}"), ("fenced", "{}")))
    with pytest.raises(NodeFenced):
        await run_agent(chat_agent(model, tools=[fenced]), FakeContext("x"))


def test_what_cannot_be_is_refused_at_once() -> None:
    model = ScriptedModel()
    with pytest.raises(ValueError, match="same name"):
        chat_agent(model, tools=[double, double])
    with pytest.raises(ValueError, match="names no tool: x"):
        chat_agent(model, asks_before=["x"])
    with pytest.raises(ValueError, match="at least 1"):
        chat_agent(model, most_rounds=0)


def test_a_node_takes_it_for_one_of_the_module_that_made_it() -> None:
    assert chat_agent(ScriptedModel()).__module__ == __name__


async def test_a_long_conversation_loses_whole_turns_and_never_a_result() -> None:
    state: dict[str, Any] = {}

    async def turn(text: str, *tries: Any) -> list[Message]:
        model = ScriptedModel(*tries)
        await run_agent(chat_agent(model, tools=[double], history_bytes=700), FakeContext(text, state=state))
        return model.requests[0]

    await turn("one", [Reply("1")])
    await turn("two", wants(("double", '{"number": 4}')), [Reply("2")])
    await turn("é" * 100, [Reply("3")])
    kept = await turn("four", [Reply("x" * 600)])
    assert kept[0]["role"] == "user"
    assert sum("tool_calls" in message for message in kept) == sum(message["role"] == "tool" for message in kept)
    after = await turn("five", wants(("double", '{"number": 4}'), text="y" * 900), ["5", Reply("5")])
    assert [message["content"] for message in after][-3:] == ["four", "x" * 600, "five"]
    assert [message["content"] for message in await turn("six", [Reply("z" * 900)])] == ["five", "5", "six"]
    assert len(await turn("seven", [Reply("")])) == 1


async def test_wherever_it_is_cut_off_it_ends_the_same() -> None:
    @Effect
    async def charge(amount: int, idempotency_key: str) -> str:
        return f"paid {amount}"

    @tool
    async def pay(amount: int, *, idempotency_key: str) -> str:
        """Pays."""
        return str(await charge(amount, idempotency_key=idempotency_key))

    model = FakeModel(ToolCall("1", "pay", '{"amount": 3}'), "Paid it all.")
    async with AgentTest(chat_agent(model, tools=[pay])) as t:
        report = await t.crash_everywhere("pay 3")
        requests = len(model.requests)
        t.crash(after_step=2)
        turn = await t.turn("pay 3")
    assert len(report.cuts) > 6
    assert (turn.text, turn.attempts) == ("Paid it all.", 2)
    ended = turn.events[-1]
    assert isinstance(ended, TurnCompleted)
    assert ended.usage is not None
    assert ended.usage.model_calls == 2
    assert len(model.requests) == requests + 2


async def test_whatever_a_tool_raises_is_told_to_the_model() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    @tool
    async def raises(number: int) -> str:
        """Raises."""
        if number == 0:
            raise Mute
        if number == 1:
            raise ValueError("half \ud800")
        never = asyncio.get_running_loop().create_future()
        never.cancel()
        return str(await never)

    calls = [("raises", f'{{"number": {number}}}') for number in range(3)]
    model = ScriptedModel(wants(*calls), ["ok", Reply("ok")])
    await run_agent(chat_agent(model, tools=[raises]), FakeContext("go"))
    assert results(model) == [
        "The call failed: Mute",
        "The call failed: ValueError: half ?",
        "The call failed: it was cancelled.",
    ]
