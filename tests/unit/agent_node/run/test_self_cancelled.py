"""Agents that cancel their own task, or have it cancelled by what they began: their run ends, and nobody else is said
to have cancelled it. A time-out or a task group of their own works, also over a `yield`."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from agent_node.run.outcome import Failed
from agent_node.task import runs as task_runs
from agentring.agent import Agent, AgentEvent, Context, Result
from agentring.errors import NodeDraining, SessionMoving
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_PENDING, TASK_STATE_UNKNOWN
from harness.agents import cancel_itself
from harness.bench import Bench, completed, failed
from harness.clock import PATIENCE_S
from harness.once import once_cluster, settled
from harness.sessions import acting
from harness.task_nodes import TaskNode, TaskWorld


def by_itself() -> None:
    cancel_itself()


def by_a_callback() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)


_children: set[asyncio.Task[None]] = set()


def by_a_child() -> None:
    parent = asyncio.current_task()

    async def child() -> None:
        assert parent is not None
        parent.cancel()

    _children.add(asyncio.create_task(child()))


def twice() -> None:
    cancel_itself()
    cancel_itself()


CANCELLERS: dict[str, Callable[[], None]] = {
    "by itself": by_itself,
    "by a callback": by_a_callback,
    "by a child": by_a_child,
    "twice": twice,
}


def making(cancel: Callable[[], None], then: str) -> Agent:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["changed"] = True
        if then == "in a tool":
            await ctx.tool("cancels", tool, cancel=cancel.__name__)
        cancel()
        match then:
            case "returns":
                return
            case "yields":
                yield "never taken back"
                await asyncio.sleep(0)
            case "yields for ever":
                for n in itertools.count():
                    yield str(n)
            case "waits":
                await asyncio.Event().wait()
            case "waits and tidies up":
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
        yield ""

    async def tool(cancel: str) -> str:
        {each.__name__: each for each in CANCELLERS.values()}[cancel]()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "done"

    return agent


ENDS = ("yields", "yields for ever", "waits", "waits and tidies up", "in a tool")


FORMS = [("by itself", "returns"), ("twice", "returns"), *itertools.product(CANCELLERS, ENDS)]


@pytest.mark.parametrize(("canceller", "then"), FORMS)
async def test_a_run_that_cancels_itself_has_failed_so(canceller: str, then: str) -> None:
    bench = Bench()
    async with asyncio.timeout(PATIENCE_S):
        assert failed(await bench.run(making(CANCELLERS[canceller], then))) == "AGENT_CANCELLED_ITSELF"
    called, answered = bench.kinds.count("tool_call"), bench.kinds.count("tool_result")
    assert called == answered == (then == "in a tool")


@pytest.mark.parametrize(("canceller", "then"), FORMS)
async def test_a_turn_that_cancels_itself_is_cancelled_by_nobody(canceller: str, then: str) -> None:
    async with acting(making(CANCELLERS[canceller], then)) as actor:
        await actor.submit("a")
        await actor.submit("b")
        assert await actor.until_ended("a", "b") == ["turn_failed", "turn_failed"]
        ended = [event for event in actor.events() if event.HasField("turn_failed")]
        assert [event.turn_failed.reason for event in ended] == ["AGENT_CANCELLED_ITSELF"] * 2


async def task_of(agent: Agent, check: Callable[[TaskNode], Awaitable[None]]) -> None:
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        world = TaskWorld()
        node = TaskNode("n1", world, tasks)
        node.agents["odd"] = agent
        try:
            await check(node)
        finally:
            node.die()


@pytest.mark.parametrize(("canceller", "then"), FORMS)
async def test_a_task_that_cancels_itself_ends_and_holds_no_drain_up(canceller: str, then: str) -> None:
    async def check(node: TaskNode) -> None:
        run, _ = await node.run(agent="odd")
        await run.ended.wait()
        assert (run.state, run.has_ended) == (TASK_STATE_FAILED, True)
        assert isinstance(run.outcome, Failed)
        assert run.outcome.reason == "AGENT_CANCELLED_ITSELF"
        await node.runs.cancel(run)
        await node.runs.drain(PATIENCE_S)

    await task_of(making(CANCELLERS[canceller], then), check)


async def test_a_run_whose_task_is_cancelled_from_outside_is_begun_again_by_the_next_caller() -> None:
    """An agent can reach every task of the process."""
    runs = 0

    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        nonlocal runs
        runs += 1
        if runs == 1:
            for task in asyncio.all_tasks():
                if getattr(task.get_coro(), "__name__", "") == "carry_out":
                    task.cancel()
            await asyncio.Event().wait()
        yield "done"

    async def check(node: TaskNode) -> None:
        run, _ = await node.run(agent="odd")
        await run.ended.wait()
        assert isinstance(run.log.end_error, SessionMoving)
        await settled()
        later, _ = await node.run(agent="odd")
        await later.ended.wait()
        assert (later.state, later.attempt) == (TASK_STATE_COMPLETED, 2)

    await task_of(agent, check)


@pytest.mark.parametrize("step", ["before end", "before requeue"])
async def test_a_run_that_a_drain_cannot_end_is_dropped(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setattr(task_runs, "_LAST_WRITES_S", 0.05)

    async def check(node: TaskNode) -> None:
        run, _ = await node.run()
        await node.stage.begun.wait()
        node.points.hold(step)
        if step == "before end":
            node.stage.go.set()
            await node.points.reached[step].wait()
        await node.runs.drain(0.01)
        assert (run.has_ended, run.ended.is_set()) == (False, True)
        assert isinstance(run.log.end_error, NodeDraining)
        node.points.free_all()

    await task_of(making(by_itself, "returns"), check)


@pytest.mark.parametrize("where", ["before the question", "while it waits"])
async def test_a_turn_that_cancels_itself_at_a_question_has_failed(where: str) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "begun"
        if where == "before the question":
            cancel_itself()
        else:
            by_a_child()
        await ctx.ask("really?")

    async with acting(agent) as actor:
        await actor.submit("a")
        await actor.submit("b")
        assert await actor.until_ended("a", "b") == ["turn_failed", "turn_failed"]
        assert actor.session.is_idle


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_step_that_cancels_its_caller_holds_its_key_no_longer(idempotent: bool) -> None:
    async def step(**_: Any) -> str:
        cancel_itself()
        await asyncio.sleep(0)
        return "never"

    async with once_cluster() as cluster:
        calling = cluster.n1.begin("key", step, idempotent=idempotent)
        await asyncio.wait([calling])
        assert calling.cancelled()
        await settled()
        assert not cluster.is_held("key")
        assert (await cluster.stored("key")).state == (TASK_STATE_PENDING if idempotent else TASK_STATE_UNKNOWN)


async def test_an_error_raised_after_the_cancellation_is_what_the_run_failed_with() -> None:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""
        cancel_itself()
        raise ValueError("not for clients")

    assert failed(await Bench().run(agent)) == "AGENT_ERROR"


async def test_a_cancellation_that_the_agent_takes_back_is_its_own_affair() -> None:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        cancel_itself()
        try:
            yield "at a yield, "
        except asyncio.CancelledError:
            yield "caught, "
        cancel_itself()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        for n in range(100):
            yield str(n % 10)

    assert completed(await Bench().run(agent)).text == "at a yield, caught, " + "0123456789" * 10


@pytest.mark.parametrize("pause_s", [0.0, 0.002])
@pytest.mark.parametrize("waits", [True, False])
async def test_a_time_out_that_goes_over_a_yield_is_the_agents_to_catch(pause_s: float, waits: bool) -> None:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            async with asyncio.timeout(0.02):
                for n in itertools.count():
                    yield str(n)
                    if pause_s:
                        await asyncio.sleep(pause_s)
                    elif waits and n == 100:
                        await asyncio.Event().wait()
        except TimeoutError:
            yield " timed out"
        await asyncio.sleep(0)
        yield Result({"went": "on"})

    outcome = completed(await Bench(max_text_bytes=1 << 24).run(agent))
    assert outcome.text.endswith(" timed out")
    assert outcome.result is not None
    assert dict(outcome.result) == {"went": "on"}


async def test_a_task_group_that_goes_over_a_yield_ends_with_its_childs_error() -> None:
    async def child() -> None:
        raise LookupError("not for clients")

    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                while True:
                    yield "."
        except* LookupError:
            pass
        yield "went on"

    assert completed(await Bench().run(agent)).text.strip(".") == "went on"
