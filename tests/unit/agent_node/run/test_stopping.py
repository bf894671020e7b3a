"""Runs that are cancelled or over their deadline end, whatever their agent makes of it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, cast

import pytest
import structlog

from agent_node.run.call_terms import CallTerms
from agent_node.run.outcome import Completed, Failed
from agent_node.run.time_limit import MOST_ABANDONED
from agentring.agent import Agent, AgentEvent, Context, Result
from agentring.agent import agent as declared
from agentring.process.owned_loop import OWNER
from harness.bench import MAX_TEXT_BYTES, SHORT_S, Bench, completed, failed
from harness.clock import PATIENCE_S
from harness.stubborn import Stubborn


def answering(cancellation: Callable[[], AgentEvent | None]) -> Agent:
    """Waits until it is cancelled, and then says something else, returns, or raises."""

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["changed"] = True
        yield "begun "
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if (event := cancellation()) is None:
                return
            yield event
        yield "never published"

    return agent


def _raise() -> AgentEvent:
    raise RuntimeError("instead of the cancellation")


CANCELLATIONS: dict[str, Callable[[], AgentEvent | None]] = {
    "goes on": lambda: "never published",
    "returns": lambda: None,
    "returns a result": lambda: Result({}),
    "raises": _raise,
    "exits": lambda: sys.exit(1),
}


@pytest.mark.parametrize("answer", CANCELLATIONS)
async def test_a_run_over_its_deadline_has_met_it_whatever_the_agent_makes_of_it(answer: str) -> None:
    bench = Bench(timeout_s=SHORT_S, grace_s=PATIENCE_S)
    assert failed(await bench.run(answering(CANCELLATIONS[answer]))) == "TURN_DEADLINE"
    assert bench.text == "begun "


@pytest.mark.parametrize("answer", CANCELLATIONS)
async def test_a_cancelled_run_is_cancelled_whatever_the_agent_makes_of_it(answer: str) -> None:
    bench = Bench(grace_s=PATIENCE_S)
    running = asyncio.ensure_future(bench.run(answering(CANCELLATIONS[answer])))
    await until_published(bench, running)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.text == "begun "


async def until_published(bench: Bench, running: "asyncio.Future[Completed | Failed]") -> None:
    """Returns once the agent has said something and waits."""
    published = asyncio.Event()
    bench.log.subscribe(published)
    await published.wait()
    bench.log.unsubscribe(published)
    assert not running.done()


@pytest.mark.parametrize(
    ("call_s", "agent_s", "node_s"),
    [(SHORT_S, None, PATIENCE_S), (SHORT_S, PATIENCE_S, PATIENCE_S), (0.0, SHORT_S, PATIENCE_S), (0.0, None, SHORT_S)],
)
async def test_a_deadline_is_the_callers_or_else_the_agents_or_else_the_nodes(
    call_s: float, agent_s: float | None, node_s: float
) -> None:
    @declared(timeout_s=agent_s)
    async def waits(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "begun"
        await asyncio.Event().wait()

    outcome = await Bench(timeout_s=node_s).run(waits, terms=CallTerms(timeout_s=call_s))
    assert failed(outcome) == "TURN_DEADLINE"


async def test_a_caller_may_give_more_time_than_agent_and_node() -> None:
    @declared(timeout_s=SHORT_S / 50)
    async def takes_its_time(ctx: Context) -> AsyncIterator[AgentEvent]:
        await asyncio.sleep(SHORT_S)
        yield "done"

    outcome = await Bench(timeout_s=SHORT_S / 50).run(takes_its_time, terms=CallTerms(timeout_s=PATIENCE_S))
    assert completed(outcome).text == "done"


@pytest.mark.parametrize("ending", ["deadline", "cancel"])
async def test_an_agent_that_does_not_end_is_abandoned_and_says_nothing_more(ending: str) -> None:
    bench = Bench(timeout_s=SHORT_S if ending == "deadline" else PATIENCE_S)
    stubborn = Stubborn()
    running = asyncio.ensure_future(bench.run(stubborn.agent))
    with structlog.testing.capture_logs() as logged:
        await stubborn.begun.wait()
        if ending == "cancel":
            running.cancel()
        await asyncio.wait([running], timeout=PATIENCE_S)
    assert "agent_let_go" in [line["event"] for line in logged]
    if ending == "cancel":
        assert running.cancelled()
    else:
        assert failed(running.result()) == "TURN_DEADLINE"
    head_seq = bench.log.head_seq
    stubborn.let_end.set()
    await stubborn.has_ended.wait()
    assert bench.log.head_seq == head_seq


async def test_an_agent_of_which_too_many_do_not_end_is_not_begun_again() -> None:
    bench = Bench(timeout_s=0.0)
    stubborn = Stubborn()
    for _ in range(MOST_ABANDONED):
        assert failed(await bench.run(stubborn.agent)) == "TURN_DEADLINE"
    head_seq = bench.log.head_seq
    assert failed(await bench.run(stubborn.agent)) == "AGENT_STUCK"
    assert bench.log.head_seq == head_seq
    stubborn.let_end.set()


@pytest.mark.parametrize("ending", ["deadline", "cancel", "too many words"])
async def test_an_agent_may_tidy_up_before_it_ends(ending: str) -> None:
    bench = Bench(timeout_s=SHORT_S if ending == "deadline" else PATIENCE_S, grace_s=PATIENCE_S)
    tidied = asyncio.Event()

    async def tidy() -> None:
        await asyncio.sleep(0)
        tidied.set()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            yield "begun"
            if ending == "too many words":
                yield "x" * MAX_TEXT_BYTES
            await asyncio.Event().wait()
        finally:
            await ctx.tool("tidy", tidy)

    running = asyncio.ensure_future(bench.run(agent))
    if ending == "cancel":
        await until_published(bench, running)
        running.cancel()
    await asyncio.wait([running], timeout=PATIENCE_S)
    assert tidied.is_set()
    assert bench.kinds == ["text_delta", "tool_call", "tool_result"]


async def test_what_an_agent_leaves_behind_says_nothing_after_its_end(bench: Bench) -> None:
    left: list[asyncio.Task[Any]] = []
    go = asyncio.Event()
    called = False

    async def late() -> None:
        nonlocal called
        called = True

    async def later(ctx: Context) -> None:
        await go.wait()
        await ctx.tool("late", late)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        left.append(asyncio.create_task(later(ctx)))
        yield "x"

    completed(await bench.run(agent))
    go.set()
    with pytest.raises(RuntimeError):
        await left[0]
    assert (called, bench.kinds) == (False, ["text_delta"])


async def test_a_run_that_is_cancelled_as_its_agent_ends_says_nothing_of_its_state() -> None:
    bench = Bench()
    running = asyncio.ensure_future(bench.run(_ending_with(lambda: running.cancel)))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.kinds == []


async def test_a_run_that_fails_as_its_agent_ends_says_nothing_of_its_state() -> None:
    bench = Bench()
    exits = _ending_with(lambda: partial(cast(Any, OWNER.get()).ended_by, SystemExit()))
    assert failed(await bench.run(exits)) == "AGENT_ERROR"
    assert bench.kinds == []


def _ending_with(called: Callable[[], Callable[[], object]]) -> Agent:
    """Changes its state and ends; what it gives back here is called before anybody learns of the end."""

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await asyncio.sleep(0)
        ctx.state["changed"] = True
        asyncio.get_running_loop().call_soon(called())
        if ctx.input_text == "never":
            yield ""

    return agent
