"""Questions and steps of `ctx.once` have their places among a run's steps."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agent_node.run.outcome import Failed
from agent_node.run.time_limit import PausableDeadline
from agentring.agent import AgentEvent, Context, OnceFailed, OnceTimeout, OnceUnknown, Tool, ToolArgumentInvalid
from agentring.errors import CoordinatorUnavailable, InvalidTaskKey, TaskCycle
from agentring.v1 import session_pb2
from harness.attempts import Ran, Run


class People:
    """Questions with answers that outlive the attempts; what has none is waited for."""

    def __init__(self, *answers: str) -> None:
        self.answers = dict(enumerate(answers, 1))
        self.asked: list[tuple[int, str]] = []

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, publish: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        self.asked.append((ordinal, question.prompt))
        if ordinal not in self.answers:
            await asyncio.Event().wait()
        return session_pb2.Input(text=self.answers[ordinal])


@pytest.fixture
def ran() -> Ran:
    return Ran()


async def test_questions_asked_inside_a_tool_that_ended_leave_the_later_ones_their_numbers(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def confirm() -> str:
            ran.called("confirm")
            return (await ctx.ask("sure?")).text + (await ctx.ask("really?")).text

        confirmed = await ctx.tool("confirm", confirm)
        yield confirmed + (await ctx.ask("name?")).text

    run = Run(agent)
    people = run.questions = People("yes", "indeed", "Ada")
    assert await run.attempt(4) is None  # the tool has landed, and the last answer has not
    assert await run.to_the_end() == "yesindeedAda"
    assert people.asked == [(1, "sure?"), (2, "really?"), (3, "name?"), (3, "name?")]
    assert ran.calls["confirm"] == 1


async def test_a_question_that_was_answered_is_answered_again_also_where_its_words_differ(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        name = await ctx.ask(f"in attempt {ctx.attempt}: name?")
        yield await ctx.step("greet", ran.effect, name.text)

    run = Run(agent)
    people = run.questions = People("Ada")
    assert await run.attempt(2) is None
    assert await run.to_the_end() == "Ada"
    assert people.asked == [(1, "in attempt 1: name?"), (1, "in attempt 2: name?")]


@pytest.mark.parametrize("asks_first", [True, False])
async def test_a_question_in_another_place_is_another_way(ran: Ran, asks_first: bool) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        if (ctx.attempt == 1) == asks_first:
            await ctx.ask("name?")
            await ctx.step("a", ran.effect, "a")
        else:
            await ctx.step("a", ran.effect, "a")
            await ctx.ask("name?")
        await ctx.step("b", ran.effect, "b")
        yield ""

    run = Run(agent)
    run.questions = People("Ada")
    assert await run.attempt(3) is None
    outcome = await run.attempt()
    assert isinstance(outcome, Failed)
    assert outcome.reason == "STEP_DIVERGED"


async def test_nobody_is_asked_in_an_attempt_that_goes_another_way(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        if ctx.attempt == 1:
            await ctx.step("a", ran.effect, "a")
        yield (await ctx.ask("name?")).text

    run = Run(agent)
    people = run.questions = People("Ada")
    assert await run.attempt(2) is None
    before = len(people.asked)
    outcome = await run.attempt()
    assert isinstance(outcome, Failed)
    assert outcome.reason == "STEP_DIVERGED"
    assert "the step a, recorded by attempt 1, is not asked for" in outcome.detail
    assert len(people.asked) == before


async def test_an_answer_that_is_not_used_again_is_another_way(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        if ctx.attempt == 1:
            await ctx.ask("name?")
        yield await ctx.step("a", ran.effect, "a")

    run = Run(agent)
    run.questions = People("Ada")
    assert await run.attempt(2) is None
    outcome = await run.attempt()
    assert isinstance(outcome, Failed)
    assert "a question, recorded by attempt 1, is not asked for" in outcome.detail


async def test_a_question_that_its_agent_gave_up_is_given_up_again(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            async with asyncio.timeout(0.01):
                await ctx.ask("quick?")
        except TimeoutError:
            yield (await ctx.ask("slowly?")).text
        yield await ctx.step("a", ran.effect, "a")

    run = Run(agent)
    people = run.questions = People()
    people.answers = {2: "yes"}
    assert await run.attempt(2) is None
    assert run.kept.names() == [" CANCELLED", " COMPLETED"]
    people.answers = {1: "too late", 2: "yes"}
    assert await run.to_the_end() == "yesa"
    assert people.asked == [(1, "quick?"), (2, "slowly?"), (2, "slowly?")]


@pytest.mark.parametrize("kind", ["step", "tool", "tool not idempotent"])
async def test_a_question_inside_what_must_not_be_cut_off_is_refused(kind: str) -> None:
    async def asks(ctx: Context) -> str:
        return (await ctx.ask("sure?")).text

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        if kind == "step":
            yield await ctx.step("asks", asks, ctx, key="asks")
        else:
            yield await ctx.call_tool(Tool(asks, idempotent=kind == "tool"), {})

    run = Run(agent)
    run.questions = People("yes")
    if kind == "tool":
        assert await run.to_the_end() == "yes"
    else:
        outcome = await run.attempt()
        assert isinstance(outcome, Failed)
        assert outcome.reason == "AGENT_ERROR"


class Steps:
    """What `ctx.once` stands on: what it returns or raises, each once."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.keys: list[str] = []

    async def call(self, _caller: Any, key: str, _function: Any, **options: Any) -> Any:
        await asyncio.sleep(0)
        self.keys.append(key)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, OnceUnknown):
            options["publish_unknown"]()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.mark.parametrize(
    "outcome",
    [
        {"paid": 50},
        OnceFailed("k", "PermissionError", "over the limit"),
        OnceUnknown("k"),
        OnceTimeout("k", 60.0),
        TaskCycle(),
        CoordinatorUnavailable(),
    ],
)
async def test_the_outcome_of_once_is_recorded_in_the_run(ran: Ran, outcome: Any) -> None:
    found: list[Any] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            found.append(await ctx.once("k", ran.effect))
        except Exception as error:
            found.append(error)
        yield await ctx.step("next", ran.effect, "next")

    run = Run(agent)
    run.once = Steps(outcome)
    assert await run.attempt(2) is None
    unknowns = run.bench.kinds.count("run_unknown")
    assert await run.to_the_end() == "next"
    assert run.bench.kinds.count("run_unknown") == unknowns == isinstance(outcome, OnceUnknown)
    before, after = found
    assert run.once.keys == ["k"]
    if isinstance(outcome, Exception):
        assert type(after) is type(before)
        assert str(after) == str(before)
        assert vars(after) == vars(before)
    else:
        assert after == before == outcome


async def test_one_key_may_be_asked_for_twice_and_beside_itself(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        found = [await ctx.once("k", ran.effect)]
        found += await asyncio.gather(ctx.once("k", ran.effect), ctx.once("k", ran.effect))
        yield f"{found}"
        await ctx.step("next", ran.effect, "next")

    run = Run(agent)
    run.once = Steps(1, 2, 3)
    assert await run.attempt(3) is None
    assert await run.to_the_end() == "[1, 2, 3]"


async def test_a_malformed_key_of_once_is_refused_as_such() -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with pytest.raises(InvalidTaskKey):
            await ctx.once("with space", asyncio.sleep)
        with pytest.raises(ToolArgumentInvalid):
            await ctx.call_tool(Tool(Ran().effect), {})
        yield ""

    run = Run(agent)
    run.once = Steps()
    assert await run.to_the_end() == ""
    assert run.kept.rows == []
