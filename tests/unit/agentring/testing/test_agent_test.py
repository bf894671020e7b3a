"""AgentTest: turns and tasks in the test's process, by a node's own code."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from agentring.agent import AgentEvent, Answer, Context, Result, agent
from agentring.testing import AgentTest, QuestionUnanswered, TurnNotAsExpected, TurnTimeout


async def counter(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Counts, by a tool and a step."""
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1

    async def double(number: int) -> int:
        return 2 * number

    doubled = await ctx.step("double", double, ctx.state["turns"])
    await ctx.tool("say", double, number=doubled)
    yield f"{ctx.input_text} {doubled}"
    yield Result({"turns": ctx.state["turns"], "data": ctx.input_data})


async def test_turns_share_a_session_and_say_what_they_did() -> None:
    async with AgentTest(counter) as t:
        first = await t.turn("hi", data={"a": 1})
        assert (first.text, first.result, t.state) == ("hi 2", {"turns": 1, "data": {"a": 1}}, {"turns": 1})
        turn = await t.turn("ho")
    assert (turn.text, turn.state, turn.attempts, turn.cuts) == ("ho 4", {"turns": 2}, 1, ())
    (step, said), (tool,) = turn.steps, turn.tools
    assert (said.name, said.outcome, said.value, said.called_in) == ("say", "completed", 8, (1,))
    assert (step.name, step.outcome, step.value, step.replayed, step.called_in) == (
        "double",
        "completed",
        4,
        False,
        (1,),
    )
    assert (tool.name, tool.arguments, tool.result, tool.reason) == ("say", {"number": 4}, 8, "")
    assert [type(event).__name__ for event in turn.events][-1] == "TurnCompleted"


async def test_a_session_begins_with_the_state_that_the_test_says() -> None:
    async with AgentTest(counter, state={"turns": 7}) as t:
        assert (await t.turn("hi")).result == {"turns": 8, "data": {}}


async def test_a_task_runs_once_and_is_then_replayed() -> None:
    calls: list[int] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        calls.append(1)
        yield f"did {ctx.input_text}"

    async with AgentTest(agent) as t:
        assert (await t.task("key", "it")).text == "did it"
        assert (await t.task("key", "it")).text == "did it"
    assert len(calls) == 1


async def broken(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Fails as its input says."""
    yield "some words"
    if ctx.input_text == "state":
        ctx.state["a"] = {1}
    else:
        raise LookupError("nothing there")


async def test_a_failed_turn_has_the_agents_error_and_traceback() -> None:
    async with AgentTest(broken) as t:
        with pytest.raises(TurnNotAsExpected, match="AGENT_ERROR: LookupError: nothing there") as failed:
            await t.turn("raise")
        assert isinstance(failed.value.__cause__, LookupError)
        assert failed.value.__cause__.__traceback__ is not None
        turn = await t.turn("raise", fails="AGENT_ERROR")
        assert (turn.text, turn.failure, type(turn.error)) == ("some words", "AGENT_ERROR", LookupError)
        with pytest.raises(
            TurnNotAsExpected, match=r"STATE_INVALID \(state \$\.a: set\), and was to fail with AGENT_ERROR"
        ):
            await t.turn("state", fails="AGENT_ERROR")


async def test_a_turn_that_was_to_fail_and_completes_is_an_error() -> None:
    async with AgentTest(counter) as t:
        with pytest.raises(TurnNotAsExpected, match="completed, and was to fail with AGENT_ERROR"):
            await t.turn("hi", fails="AGENT_ERROR")


async def buyer(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Asks twice."""
    sure = await ctx.ask("sure?")
    amount = await ctx.ask("how many?", schema={"type": "object"})
    yield f"{sure.text} {amount.data}"


async def test_questions_are_answered_in_their_order_or_by_a_function() -> None:
    async with AgentTest(buyer) as t:
        t.answers("yes", {"amount": 7})
        turn = await t.turn()
        assert (turn.text, turn.questions) == ("yes {'amount': 7}", ("sure?", "how many?"))
        t.answers(lambda question: Answer(question.prompt, {"schema": question.schema}))
        assert (await t.turn()).text == "sure? {'schema': {'type': 'object'}}"


async def test_a_question_without_an_answer_fails_the_turn_and_not_the_next_one() -> None:
    async with AgentTest(buyer) as t:
        t.answers("yes")
        with pytest.raises(QuestionUnanswered, match=r"the agent asks 'how many\?'.*t.answers"):
            await t.turn()
        t.answers("no", {})
        assert (await t.turn()).text == "no {}"


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(TypeError, match="not int"):
        AgentTest(buyer).answers(7)  # type: ignore[arg-type]


async def test_a_turn_that_hangs_says_where() -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "begun"
        await asyncio.Event().wait()

    async with AgentTest(agent) as t:
        with pytest.raises(
            TurnTimeout, match=r"not ended after 0.02 s: the agent waits at test_agent_test.py:\d+, in agent"
        ):
            await t.turn(timeout_s=0.02)


async def test_state_that_a_step_changes_is_an_error() -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def change() -> None:
            ctx.state["cart"].append("tea")

        ctx.state["cart"].append("milk")
        await ctx.step("change", change)
        yield "done"

    async with AgentTest(agent, state={"cart": []}) as t:
        with pytest.raises(TurnNotAsExpected, match=r"ctx\.state is changed inside a step.*after it"):
            await t.turn()


def test_it_works_without_a_test_framework() -> None:
    async def test() -> str:
        async with AgentTest(counter) as t:
            return (await t.turn("hi")).text

    assert asyncio.run(test()) == "hi 2"


@dataclass
class Count:
    """A state of its second version."""

    turns: int = 0


@agent(state=Count, version=2, migrate=lambda state, version: {"turns": state["count"]})
async def declared(ctx: Context[Count]) -> AsyncIterator[AgentEvent]:
    """Counts."""
    ctx.state.turns += 1
    await ctx.step("nothing", asyncio.sleep, 0)
    yield f"turn {ctx.state.turns}, {len(ctx.history)} before"


async def test_a_declared_agent_has_its_state_and_its_migration() -> None:
    async with AgentTest(declared, state={"count": 4}) as t:
        assert (await t.turn("a")).text == "turn 5, 0 before"
        report = await t.crash_everywhere("b")
        assert report.turn.text == "turn 6, 1 before"
        assert t.state == {"turns": 5}


@pytest.mark.parametrize("size", [5, 5 << 10, 900_000])
async def test_large_results_of_steps_are_seen(size: int) -> None:
    async def large() -> str:
        return "word " * (size // 5)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(len(await ctx.step("large", large)))
        yield str(len(await ctx.tool("large", large)))

    async with AgentTest(agent) as t:
        t.crash(after_step=2)
        turn = await t.turn("hi")
    assert [step.value for step in turn.steps] == ["word " * (size // 5)] * 2
