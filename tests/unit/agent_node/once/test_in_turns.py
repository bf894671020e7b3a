"""Steps that run once as the agent of a turn asks for them: never while it asks its user, nor the other way round."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from agent_node.events.log import EventLog
from agent_node.run.agent_run import run_agent
from agent_node.run.outcome import Completed
from agent_node.run.run_input import TurnInput
from agent_node.run.time_limit import PausableDeadline
from agentring.agent import Agent, AgentEvent, Context, Result
from agentring.ids import Epoch, parse_session
from agentring.v1 import session_pb2
from harness.once import OnceCluster, Step, once_cluster, settled
from harness.premises import environment

EPOCH = Epoch(7)


class User:
    """Who is asked, and answers once the test lets them."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, tell: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        tell(f"t.{ordinal}")
        self.asked.set()
        await self.go.wait()
        return session_pb2.Input(text=f"answer {ordinal}")


async def result_of(cluster: OnceCluster, user: User, agent: Agent) -> Any:
    """What a turn of the agent ends with."""
    env = replace(environment(cluster.clock), once=cluster.n1.once)
    turn = TurnInput(parse_session("", "s"), "t", 1, "hi", {}, "{}", (), 1, questions=user)
    outcome = await run_agent(env, agent, turn, EventLog(EPOCH, 1 << 20), EPOCH)
    assert isinstance(outcome, Completed)
    assert outcome.result is not None
    return dict(outcome.result)


async def refusal(call: Awaitable[Any]) -> str:
    try:
        await call
    except RuntimeError as error:
        return str(error)
    return ""


async def test_a_step_cannot_ask_the_user_and_goes_on_when_it_is_refused() -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def step(**run: Any) -> str:
            return await refusal(ctx.ask("really?"))

        yield Result({"refused": await ctx.once("key", step), "then": (await ctx.ask("really?")).text})

    async with once_cluster() as cluster:
        user = User()
        user.go.set()
        result = await result_of(cluster, user, agent)
        assert "ask before or after a step" in result["refused"]
        assert result["then"] == "answer 1"
        assert cluster.n1.events == ["once_started", "once_committed"]


async def test_a_question_beside_a_step_is_refused_also_where_another_turn_runs_the_step() -> None:
    step = Step()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        waiting = asyncio.create_task(ctx.once("key", Step("not run")))
        await settled()
        refused = await refusal(ctx.ask("really?"))
        step.go.set()
        yield Result({"refused": refused, "value": await waiting})

    async with once_cluster() as cluster:
        holder = cluster.n1.begin("key", step)
        await step.begun.wait()
        result = await result_of(cluster, User(), agent)
        assert "ask before or after a step" in result["refused"]
        assert (result["value"], await holder) == ("done", "done")


async def test_a_step_beside_a_question_is_refused_and_never_begun() -> None:
    step, user = Step(), User()
    step.go.set()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        asking = asyncio.create_task(ctx.ask("really?"))
        await user.asked.wait()
        refused = await refusal(ctx.once("key", step))
        user.go.set()
        yield Result({"refused": refused, "answer": (await asking).text, "value": await ctx.once("key", step)})

    async with once_cluster() as cluster:
        result = await result_of(cluster, user, agent)
        assert "ask before or after a step" in result["refused"]
        assert (result["answer"], result["value"]) == ("answer 1", "done")
        assert len(step.calls) == 1
